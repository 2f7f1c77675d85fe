"""`trimtab dashboard`: what it starts, and to whom it listens."""

import importlib.util

import pytest
from streamlit.testing.v1 import AppTest

from trimtab.planner.cli import main
from trimtab.planner.cli.commands.dashboard import command, environment
from trimtab.planner.jobs.dashboard_access import LOGIN, TOKEN, is_loopback
from trimtab.planner.jobs.store_location import StoreLocation


def test_it_runs_the_packaged_application_from_anywhere():
    words = command(8600, "127.0.0.1", browser=False, login=False)
    assert "-P" in words  # nothing of the folder that it is called from is imported
    assert importlib.util.find_spec(words[words.index("-m") + 1])
    assert words[-4:] == ["--port", "8600", "--address", "127.0.0.1"]
    assert command(8600, "::1", browser=True, login=True)[-2:] == ["--browser", "--login"]


def test_what_is_secret_goes_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = "postgresql://me:secret@host/db"
    told = environment(StoreLocation(url, tmp_path), "the token")
    assert (told["TRIMTAB_STORE"], told["TRIMTAB_ARTEFACTS"]) == (url, str(tmp_path))
    assert told[TOKEN] == "the token"
    monkeypatch.setenv(TOKEN, "of another")
    told = environment(StoreLocation("some/trimtab.db", None), None)
    assert told["TRIMTAB_STORE"] == str(tmp_path / "some" / "trimtab.db")
    assert TOKEN not in told and LOGIN not in told
    assert environment(StoreLocation(url, tmp_path), None, login=True)[LOGIN] == "1"


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("192.0.2.7", False), ("host.example", False)),
    ],
)
def test_loopback(address, holds):
    assert is_loopback(address) is holds


def test_another_address_needs_authentication(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["dashboard", "--address", "0.0.0.0"]) == 2
    told = capsys.readouterr().err
    assert "server_metadata_url" in told
    assert "--no-authentication" in told
    assert "ssh -L" in told


def test_secrets_that_cannot_be_read_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text("[auth")
    assert main(["dashboard", "--address", "0.0.0.0"]) == 2
    assert "not TOML" in capsys.readouterr().err


def test_secrets_of_the_home_folder_are_read_too(tmp_path, monkeypatch, capsys):
    """Streamlit reads both, and neither where one is damaged."""
    home, here = tmp_path / "home", tmp_path / "here"
    for folder, text in ((home, "[auth"), (here, '[auth]\nclient_id = "x"\n')):
        (folder / ".streamlit").mkdir(parents=True)
        (folder / ".streamlit" / "secrets.toml").write_text(text)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    assert main(["dashboard", "--login"]) == 2
    assert "not TOML" in capsys.readouterr().err


def test_login_on_this_machine_is_told_how(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["dashboard", "--login"]) == 2
    told = capsys.readouterr().err
    assert "server_metadata_url" in told and "ssh -L" not in told


@pytest.mark.skipif(
    importlib.util.find_spec("authlib") is not None, reason="Authlib is installed here"
)
def test_authentication_needs_its_library(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('[auth]\nclient_id = "x"\n')
    assert main(["dashboard", "--address", "0.0.0.0"]) == 2
    assert "streamlit[auth]" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "short", "a" * 20 + ";", "\xe4" * 20])
def test_a_token_that_is_too_simple_is_refused(monkeypatch, capsys, token):
    monkeypatch.setenv(TOKEN, token)
    assert main(["dashboard"]) == 2
    assert "16 or more letters" in capsys.readouterr().err


def asked_to_log_in():
    import streamlit as st

    from trimtab.dashboard import login

    login.require()
    st.write("the jobs")


@pytest.mark.parametrize(("wanted", "shown"), [("", ["the jobs"]), ("1", [])])
def test_where_everybody_must_log_in_nothing_is_shown_without_secrets(
    tmp_path, monkeypatch, wanted, shown
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(LOGIN, wanted)
    app = AppTest.from_function(asked_to_log_in).run()
    assert [each.value for each in app.markdown] == shown
    assert [each.value.startswith("Everybody must log in") for each in app.error] == [True] * bool(
        wanted
    )
