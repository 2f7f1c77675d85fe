"""Images, labels, splits and streams: what a job's models are tried on."""

from trimtab.workloads.balance import ClassCounts, class_counts
from trimtab.workloads.images.checks import checked_images
from trimtab.workloads.images.files import IMAGE_SUFFIXES
from trimtab.workloads.images.reader import read_workload
from trimtab.workloads.splits import SPLIT_NAMES, Splits, in_several_splits, split_workload
from trimtab.workloads.streams.frames import frame_items, write_frames
from trimtab.workloads.streams.motion import render
from trimtab.workloads.streams.recipes import STREAM_KINDS, StreamRecipe
from trimtab.workloads.streams.stream import Stream, make_stream
from trimtab.workloads.workload import Item, Workload

__all__ = [
    "IMAGE_SUFFIXES",
    "SPLIT_NAMES",
    "STREAM_KINDS",
    "ClassCounts",
    "Item",
    "Splits",
    "Stream",
    "StreamRecipe",
    "Workload",
    "checked_images",
    "class_counts",
    "frame_items",
    "in_several_splits",
    "make_stream",
    "read_workload",
    "render",
    "split_workload",
    "write_frames",
]
