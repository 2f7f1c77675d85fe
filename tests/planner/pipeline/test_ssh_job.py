"""Jobs on a device behind SSH that fails in several ways."""

import io

import pytest
from sample_models import INPUT, write_onnx, write_photos
from sample_tflite import write_tflite
from ssh_server import SSHD, SshServer

import trimtab
from trimtab.planner.cli.app import main
from trimtab.planner.jobs.journal import NullListener
from trimtab.planner.reports.notes import troubles_text
from trimtab.planner.specification.job import load_spec
from trimtab.profilers import DeviceLost, parse_ssh
from trimtab.profilers.ssh import Patience, SshDevice
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.probe.requests import MeasureSettings

pytestmark = pytest.mark.slow

QUICK = MeasureSettings(seconds=0.0, max_seconds=5.0, min_rounds=8, warmup_seconds=0.0)
BRIEF = Patience(first_s=0.1, longest_s=0.2, total_s=0.5)


@pytest.fixture
def server(tmp_path, monkeypatch):
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian: apt-get install openssh-server)")
    found = SshServer(tmp_path / "sshd")
    absent = tmp_path / "absent" / "ai_edge_litert"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ImportError('not on this device')\n")
    found.use_environment(PYTHONPATH=str(absent.parent))
    monkeypatch.setenv("HOME", str(found.home))
    yield found
    found.stop()


@pytest.fixture
def spec(tmp_path, server):
    write_photos(tmp_path / "photos", 36)
    write_onnx(tmp_path / "large.onnx", width=16)
    write_tflite(tmp_path / "lite.tflite", 8)
    return {
        "name": "far",
        "device": {"address": server.address, "host_key": server.fingerprint},
        "models": [
            {"path": str(tmp_path / "large.onnx"), "input": INPUT},
            {"path": str(tmp_path / "lite.tflite"), "input": INPUT},
        ],
        "workload": {
            "images": str(tmp_path / "photos"),
            "splits": {"fit": 8, "tune": 14, "test": 14},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": [], "cascade": False},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 1,
    }


class Faults(NullListener):
    """Cuts the connection in the middle of a trace, twice."""

    def __init__(self, server):
        self.server, self.left, self.told = server, 2, []

    def step(self, name, detail, done, total):
        if name == "trace" and 0 < done < total and self.left:
            self.left -= 1
            self.server.cut()

    def note(self, level, subject, text):
        self.told.append((level, subject, text))


@pytest.fixture
def store(tmp_path):
    with trimtab.Store.open(tmp_path / "store" / "trimtab.db") as opened:
        yield opened


def test_a_job_goes_on_through_faults_and_tells_of_them(spec, server, store):
    """The connection breaks twice, and an engine is missing on the device."""
    watcher = Faults(server)
    record = trimtab.plan(spec, store, watcher, QUICK, setup="ignored")
    assert record.state == "done"
    assert record.summary["troubles"] == {"connection lost": 2}
    assert "connection lost (2)" in troubles_text(record)
    assert [told[0] for told in watcher.told if "trying again" in told[2]] == ["warning"] * 2
    candidates = store.list_candidates(record.id)
    assert {(c.options["engine"], c.state) for c in candidates} == {
        ("onnxruntime", "measured"),
        ("litert", "failed"),
    }
    assert any("LiteRT is missing" in c.reason for c in candidates if c.reason)
    verified = [v for v in store.list_verifications(record.id) if v.state == "ok"]
    assert {v.values["answer_mismatch"] for v in verified} == {0}
    (device,) = store.list_devices()
    assert device.address == server.address
    assert "litert" not in device.fingerprint
    assert list((server.device / "runs").iterdir()) == []


class Away(NullListener):
    """The device goes when something has been measured."""

    def __init__(self, server, store):
        self.server, self.store = server, store

    def step(self, name, detail, done, total):
        if name == "trace" and self.store.list_measurements(state="ok"):
            self.server.stop()


def test_a_device_that_stays_away_ends_the_job_which_goes_on_later(spec, server, store):
    found = load_spec(spec).device
    target = parse_ssh(found.address, **found.settings)
    with (
        SshDevice(target, patience=BRIEF) as device,
        pytest.raises(DeviceLost, match="run the same command again to resume"),
    ):
        trimtab.plan(spec, store, Away(server, store), QUICK, device, setup="ignored")
    (job,) = store.list_jobs()
    assert job.state == "failed"
    assert "cannot be reached" in job.message
    kept = store.list_measurements()
    assert [found.state for found in kept] == ["ok"]
    assert store.list_candidates(job.id) == []  # nobody is blamed
    server.start()
    record = trimtab.plan(spec, store, settings=QUICK, setup="ignored")
    assert record.id == job.id
    assert record.state == "done"
    assert [found for found in store.list_measurements() if found in kept] == kept


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        ("ssh://pi:geheim@h", "device.address: a password has no place in an address"),
        ({"address": "ssh://h", "host_key": "SHA256:x"}, "device.host_key: a host key is written"),
        ({"address": "local", "space_mb": 100}, "device.space_mb: only devices such as ssh://"),
        ({"address": "ssh://h", "hostkey": "x"}, "unknown field; did you mean 'host_key'"),
        (
            "telnet://h",
            "device.address: device 'telnet://h' is unknown: there are 'local',",
        ),
    ],
)
def test_a_wrong_device_is_refused(tmp_path, device, problem):
    given = {
        "name": "x",
        "device": device,
        "models": [{"path": "a.onnx"}],
        "workload": {"images": str(tmp_path)},
        "objectives": {"top1": "max"},
    }
    with pytest.raises(SpecificationError) as told:
        load_spec(given)
    assert problem in str(told.value)
    assert "geheim" not in str(told.value)


def test_an_address_alone_keeps_the_names_of_jobs():
    given = {
        "name": "x",
        "models": [{"path": "a.onnx"}],
        "workload": {"images": "."},
        "objectives": {"top1": "max"},
    }
    for device in ("local", "ssh://pi@board"):
        spec = load_spec({**given, "device": device})
        assert spec.model_dump(mode="json")["device"] == device
    full = {"address": "ssh://pi@board", "space_mb": 100}
    told = load_spec({**given, "device": full}).model_dump(mode="json")["device"]
    assert load_spec({**given, "device": told}).device.space_mb == 100


def test_the_command_line_knows_a_device(server, monkeypatch, capsys):
    """First contact, what is missing, what is there, what is left."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["devices", "check", server.address]) == 1
    assert "nobody has confirmed, SHA256:" in capsys.readouterr().err
    key = ["--host-key", server.fingerprint]
    assert main(["devices", "check", server.address, *key]) == 0
    told = capsys.readouterr().out
    assert "onnxruntime" in told
    assert "CPUExecutionProvider" in told
    assert told.rstrip().endswith("Ready.")
    assert main(["devices", "clean", server.address, "--all", *key]) == 0
    assert not server.device.exists()
    assert main(["devices", "check", server.address, *key]) == 1
    assert "missing: an environment of its own" in capsys.readouterr().out
    assert main(["devices", "check", "local"]) == 1
    assert "'local' is not the address of a device over SSH" in capsys.readouterr().err
