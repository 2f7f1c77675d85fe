"""Images, labels, splits and streams: what a job's models are tried on."""

from workloads.checking import check_images
from workloads.reading import IMAGE_SUFFIXES, read_workload
from workloads.splits import SPLIT_NAMES, Splits, split_workload
from workloads.streams import STREAM_KINDS, Stream, make_stream
from workloads.workload import Item, Workload

__all__ = [
    "IMAGE_SUFFIXES",
    "SPLIT_NAMES",
    "STREAM_KINDS",
    "Item",
    "Splits",
    "Stream",
    "Workload",
    "check_images",
    "make_stream",
    "read_workload",
    "split_workload",
]
