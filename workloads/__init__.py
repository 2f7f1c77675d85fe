"""Images, labels, splits and streams: what a job's models are tried on."""

from workloads.checking import check_images
from workloads.frames import frame_items, write_frames
from workloads.motion import render
from workloads.reading import IMAGE_SUFFIXES, read_workload
from workloads.recipes import STREAM_KINDS, StreamRecipe
from workloads.splits import SPLIT_NAMES, Splits, split_workload
from workloads.streams import Stream, make_stream
from workloads.workload import Item, Workload

__all__ = [
    "IMAGE_SUFFIXES",
    "SPLIT_NAMES",
    "STREAM_KINDS",
    "Item",
    "Splits",
    "Stream",
    "StreamRecipe",
    "Workload",
    "check_images",
    "frame_items",
    "make_stream",
    "read_workload",
    "render",
    "split_workload",
    "write_frames",
]
