"""What a build takes over from the host, and that no value of it is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.inputs import credentials
from tasks.core.inputs.credentials import HOST_ENV, PROXY, gather


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a CA bundle of its own, unless a test names one."""
    monkeypatch.setattr(credentials, "_CA_BUNDLES", ())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text("certificates")
    return path


def host_env(**environ: str) -> dict[str, str]:
    text = gather(environ).environment.get(HOST_ENV, "")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_bare_machine() -> None:
    found = gather({})
    assert found.secrets == ()
    assert found.environment == {}


class TestCa:
    @pytest.mark.parametrize(
        "name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"]
    )
    def test_named(self, bundle: Path, name: str) -> None:
        assert gather({name: str(bundle)}).secrets == (f"id=ca,src={bundle}",)

    def test_the_first_that_is_there(self, bundle: Path) -> None:
        environ = {"SSL_CERT_FILE": "/nowhere", "REQUESTS_CA_BUNDLE": "", "PIP_CERT": str(bundle)}
        assert gather(environ).secrets == (f"id=ca,src={bundle}",)

    def test_a_folder_is_no_bundle(self, tmp_path: Path) -> None:
        assert gather({"SSL_CERT_FILE": str(tmp_path)}).secrets == ()

    def test_that_of_the_system(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(credentials, "_CA_BUNDLES", ("/nowhere", str(bundle)))
        assert gather({}).secrets == (f"id=ca,src={bundle}",)


class TestNetrc:
    def test_in_the_home_folder(self, tmp_path: Path) -> None:
        (tmp_path / ".netrc").touch()
        assert gather({"HOME": str(tmp_path)}).secrets == (f"id=netrc,src={tmp_path}/.netrc",)

    def test_a_named_one_comes_first(self, tmp_path: Path) -> None:
        for name in (".netrc", "mine"):
            (tmp_path / name).touch()
        environ = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "mine")}
        assert gather(environ).secrets == (f"id=netrc,src={tmp_path}/mine",)

    def test_a_named_one_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / ".netrc").touch()
        environ = {"HOME": str(tmp_path), "NETRC": "/nowhere"}
        assert gather(environ).secrets == (f"id=netrc,src={tmp_path}/.netrc",)


class TestHostEnv:
    def test_by_the_name_of_a_variable(self) -> None:
        found = gather({"PIP_EXTRA_INDEX_URL": "https://user:pass_word@index.example"})
        assert found.secrets == (f"id=host-env,env={HOST_ENV}",)
        assert "pass_word" in found.environment[HOST_ENV]
        assert "pass_word" not in repr(found)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
            ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
            ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST"),
        ],
    )
    def test_what_pip_and_uv_call_differently(self, one: str, other: str) -> None:
        assert host_env(**{one: "x"}) == {one: "x", other: "x"}
        assert host_env(**{other: "x"}) == {one: "x", other: "x"}
        assert host_env(**{one: "x", other: "y"}) == {one: "x", other: "y"}

    def test_proxies_in_both_cases(self) -> None:
        environ = {"http_proxy": "a", "HTTPS_PROXY": "b", "no_proxy": "c", "ALL_PROXY": "d"}
        assert host_env(**environ) == environ

    def test_steps_that_ask_no_index_get_the_proxies_alone(self) -> None:
        index = "https://user:pass_word@index.example"
        found = gather({"https_proxy": "http://proxy.example", "UV_DEFAULT_INDEX": index})
        assert f"id=proxy,env={PROXY}" in found.secrets
        assert found.environment[PROXY] == "https_proxy=http://proxy.example\n"

    def test_credentials_of_a_named_index(self) -> None:
        environ = {"UV_INDEX_MINE_USERNAME": "u", "UV_INDEX_MINE_PASSWORD": "p"}
        assert host_env(**environ) == environ

    def test_nothing_else_goes_along(self) -> None:
        environ = {
            "HOME": "/nowhere",
            "AWS_SECRET_ACCESS_KEY": "x",
            "UV_CACHE_DIR": "/x",
            "PIP_INDEX_URL": "",
            "UV_INDEX_MINE_TOKEN": "x",
        }
        assert host_env(**environ) == {}

    def test_a_line_break_starts_no_setting(self) -> None:
        assert host_env(UV_INDEX_STRATEGY="a\nLD_PRELOAD=x") == {
            "UV_INDEX_STRATEGY": "a LD_PRELOAD=x"
        }
