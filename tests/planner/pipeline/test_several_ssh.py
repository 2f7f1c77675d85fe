"""One job on two devices behind SSH, one of which goes away for a while."""

import pytest
from sample_models import INPUT, write_onnx, write_photos
from ssh_server import SSHD, SshServer

import trimtab
from trimtab.planner.jobs.journal import NullListener
from trimtab.planner.reports.front import front_view
from trimtab.planner.specification.job import load_spec
from trimtab.profilers.ssh import Patience, SshDevice
from trimtab.profilers.ssh_address import parse_ssh
from trimtab_runtime.probe.requests import MeasureSettings

pytestmark = pytest.mark.slow

QUICK = MeasureSettings(seconds=0.0, max_seconds=5.0, min_rounds=8, warmup_seconds=0.0)
BRIEF = Patience(first_s=0.1, longest_s=0.2, total_s=0.5)


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """Two, with one home; the second has no LiteRT, so that it is another device."""
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian: apt-get install openssh-server)")
    found = {name: SshServer(tmp_path / name) for name in ("near", "far")}
    found["near"].use_environment()
    absent = tmp_path / "absent" / "ai_edge_litert"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ImportError('not on this device')\n")
    found["far"].use_environment(PYTHONPATH=str(absent.parent))
    keys = [(s.folder / "authorized_keys").read_text() for s in found.values()]
    for server in found.values():
        (server.folder / "authorized_keys").write_text("".join(keys))
    monkeypatch.setenv("HOME", str(found["near"].home))
    yield found
    for server in found.values():
        server.stop()


@pytest.fixture
def spec(tmp_path, servers):
    write_photos(tmp_path / "photos", 36)
    write_onnx(tmp_path / "large.onnx", width=16)
    return {
        "name": "both",
        "devices": [
            {"name": name, "address": server.address, "host_key": server.fingerprint}
            for name, server in servers.items()
        ],
        "across": "worst",
        "models": [{"path": str(tmp_path / "large.onnx"), "input": INPUT}],
        "workload": {
            "images": str(tmp_path / "photos"),
            "splits": {"fit": 8, "tune": 14, "test": 14},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": [], "cascade": False},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 1},
        "together": 1,
        "verify": 0,
    }


class Leaving(NullListener):
    """The far device goes when it has measured something."""

    def __init__(self, server):
        self.server, self.told, self.gone = server, [], False

    def step(self, name, detail, done, total):
        # Traces are shared: where the near device was first, there is none on the far one.
        if name in ("trace on far", "together on far") and not self.gone:
            self.gone = True
            self.server.stop()

    def note(self, level, subject, text):
        self.told.append((level, subject))


def test_the_one_that_is_left_has_its_front_and_the_other_follows(spec, servers, tmp_path):
    with trimtab.Store.open(tmp_path / "store" / "trimtab.db") as store:
        watcher = Leaving(servers["far"])
        place = load_spec(spec).places[1]
        target = parse_ssh(place.address, host_key=place.host_key)
        with SshDevice(target, patience=BRIEF) as far:
            record = trimtab.plan(spec, store, watcher, QUICK, {"far": far}, setup="ignored")
        assert record.state == "failed"
        assert record.message.startswith("far: ")
        assert record.message.endswith("Done: near. Run the command again to resume")
        assert ("error", "far") in watcher.told
        near, far = (device["job"] for device in record.summary["devices"])
        assert front_view(store, store.get_job(near)).chosen
        assert store.get_job(far).state == "failed"
        kept = store.list_measurements()
        servers["far"].start()
        starts = servers["near"].starts()
        again = trimtab.plan(spec, store, settings=QUICK, setup="ignored")
        assert (again.id, again.state, again.message) == (record.id, "done", None)
        assert [m for m in store.list_measurements() if m in kept] == kept
        (chosen,) = (v for v in store.list_verifications(record.id))
        assert set(chosen.details["devices"]) == {"near", "far"}
        far_key = store.get_job(far).device_key
        new = [m for m in store.list_measurements() if m not in kept]
        assert {m.device_key for m in new} == {far_key}
        probes = servers["near"].starts() - starts
        told = "its fingerprint, a look at what is reused, the common bundle (again if disturbed)"
        assert probes in (3, 4), told
        assert front_view(store, again).device == "the worst case of near, far"
