"""Steps give the same answers and files here and on a cluster, whatever happens to its nodes."""

import os
from dataclasses import replace
from pathlib import Path

import isolated_tasks
import pytest
from sample_models import INPUT, write_onnx, write_photos

from trimtab.variants import (
    inspect_model,
    make_variant,
    quantisation_details,
    quantisation_work,
)
from trimtab.variants.execution import Here, executor_on
from trimtab.variants.isolation import call
from trimtab_runtime.errors import ClusterError, ModelError

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    """A cluster of a head that computes nothing and two nodes."""
    from ray.cluster_utils import Cluster

    size = 80 * 2**20
    before = os.environ.get("PYTHONPATH", "")
    ours = [str(Path(isolated_tasks.__file__).parent), *filter(None, [before])]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(ours))  # as nodes take it over
        yield from _cluster(Cluster, size)


def _cluster(Cluster, size):
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": size}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=size)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def on_cluster(nodes, told):
    with executor_on(nodes.address, told.append) as executor:
        yield executor


@pytest.fixture(params=["here", "on_cluster"])
def executor(request):
    return Here() if request.param == "here" else request.getfixturevalue("on_cluster")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_photos(folder / "photos", 8)
    for width in (4, 8, 16):
        write_onnx(folder / f"net{width}.onnx", width=width)
    return folder


def quantising(models, place, names=("net4", "net8", "net16")):
    images, found = sorted((models / "photos").rglob("*.png")), []
    for name in names:
        source, folder = models / f"{name}.onnx", place / name
        folder.mkdir(parents=True)
        variant = make_variant(source, inspect_model(source), INPUT, {}, name)
        found.append(quantisation_work("w8a8", source, variant, images, folder / "made.onnx"))
    return found


def test_the_same_steps_make_the_same_files(executor, models, tmp_path):
    works = quantising(models, tmp_path / "own")
    ended = dict(executor.run(works))
    assert sorted(ended) == [0, 1, 2]
    for number, work in enumerate(quantising(models, tmp_path / "expected")):
        expected = call(work.task, work.about, work.request, work.limits)
        assert quantisation_details(ended[number]) == quantisation_details(expected)
        (own,), (other,) = works[number].folder.iterdir(), work.folder.iterdir()
        assert own.name == other.name and own.read_bytes() == other.read_bytes()


def test_a_step_that_fails_says_why_and_the_others_go_on(executor, models, tmp_path):
    works = quantising(models, tmp_path, ("net4", "net8"))
    models.joinpath("broken.onnx").write_bytes(b"no model")
    broken = replace(
        works[0],
        request={**works[0].request, "source": str(models / "broken.onnx")},
        inputs=((models / "broken.onnx",), *works[0].inputs[1:]),
    )
    ended = dict(executor.run([broken, works[1]]))
    assert isinstance(ended[0], ModelError) and "broken.onnx: damaged" in str(ended[0])
    assert quantisation_details(ended[1]) == {}


def test_no_step_is_begun_once_there_is_enough(executor, models, tmp_path):
    assert list(executor.run(quantising(models, tmp_path), enough=lambda: True)) == []


def test_who_waits_may_end_what_runs(on_cluster, models, tmp_path):
    def waiting():
        raise KeyboardInterrupt

    (work,) = quantising(models, tmp_path, ("net4",))
    endless = replace(work, task=isolated_tasks.endless, request=None)
    with pytest.raises(KeyboardInterrupt):
        list(on_cluster.run([endless, endless], waiting))
    assert dict(on_cluster.run([work])).keys() == {0}


def test_what_the_cluster_consists_of_is_told(on_cluster, told):
    assert on_cluster.place == "2 node(s) with 2 CPUs"
    assert told[0] == "variants are made on 2 node(s) with 2 CPUs"


def test_a_step_for_more_processors_than_a_node_has_is_refused(on_cluster, models, tmp_path):
    (work,) = quantising(models, tmp_path, ("net4",))
    with pytest.raises(ClusterError, match=r"needs 3 CPUs on one node.*OMP_NUM_THREADS=1"):
        list(on_cluster.run([replace(work, cpus=3)]))


def test_a_node_that_dies_loses_no_step(nodes, on_cluster, models, tmp_path):
    more = nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    with executor_on(nodes.address) as executor:  # which knows it
        works = quantising(models, tmp_path, ("net4", "net8", "net16"))
        ended = {}
        for number, outcome in executor.run(works):
            ended[number] = outcome
            if len(ended) == 1:
                nodes.remove_node(more, allow_graceful=False)
    assert [quantisation_details(ended[number]) for number in range(3)] == [{}, {}, {}]
