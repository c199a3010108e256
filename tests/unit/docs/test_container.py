"""docs/container and docs/kubernetes: as far as can be checked where there are no containers."""

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, latest_version, validate

from edged.config.load import load

REPOSITORY = Path(__file__).resolve().parents[3]
CONTAINERFILE = REPOSITORY / "docs/container/Containerfile"
MANIFEST = REPOSITORY / "docs/kubernetes/edged.yaml"
INSTALL = (REPOSITORY / "install.sh").read_text()


def _instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(name, " ".join(arguments.split())) for name, _, arguments in found]


def _arguments(name: str) -> list[str]:
    return [arguments for each, arguments in _instructions() if each == name]


def _documents() -> dict[str, Any]:
    """The manifest's documents by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


def _pod() -> Any:
    return _documents()["StatefulSet"]["spec"]["template"]["spec"]


def _container() -> Any:
    (container,) = _pod()["containers"]
    return container


def _service_command() -> list[str]:
    unit = (REPOSITORY / "systemd/edged.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    return shlex.split(command)


def test_the_image_runs_the_command_of_the_unit() -> None:
    (entry,), (arguments,) = _arguments("ENTRYPOINT"), _arguments("CMD")
    assert json.loads(entry) + json.loads(arguments) == _service_command()


def test_what_is_copied_into_the_image_exists() -> None:
    sources = [
        source
        for arguments in _arguments("COPY")
        if not arguments.startswith("--from=")
        for source in arguments.split()[:-1]
    ]
    assert "edged" in sources
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []


def test_the_image_builds_the_llama_that_install_sh_builds_but_for_any_cpu() -> None:
    (version,) = re.findall(r"^readonly llama_version=(\S+)$", INSTALL, re.MULTILINE)
    (flags,) = re.findall(r"^readonly cmake_args='(.*)'$", INSTALL, re.MULTILINE)
    build = next(arguments for arguments in _arguments("RUN") if "CMAKE_ARGS" in arguments)
    assert f"llama-cpp-python=={version}" in build
    (built,) = re.findall(r'CMAKE_ARGS="([^"]*)"', build)
    assert set(flags.split()) - set(built.split()) == {"-DGGML_NATIVE=ON"}
    assert _arguments("ARG") == ['GGML="-DGGML_NATIVE=OFF"']


def test_the_image_has_the_packages_that_a_build_needs() -> None:
    packages = set(_arguments("RUN")[0].split())
    named = set(re.findall(r"missing\+=\(([a-z0-9-]+)\)", INSTALL)) | set(
        re.findall(r":(gcc|g\+\+|cmake|ninja-build|pkg-config)\b", INSTALL)
    )
    assert len(named) > 5
    assert named <= packages


@pytest.mark.parametrize("version", ["1.30", "1.34", latest_version()])
@pytest.mark.parametrize("kind", ["ConfigMap", "StatefulSet", "Service"])
def test_the_manifest_is_what_kubernetes_takes(kind: str, version: str) -> None:
    validate(_documents()[kind], version, strict=True)


def test_a_mistake_in_the_manifest_would_be_noticed() -> None:
    wrong = copy.deepcopy(_documents()["StatefulSet"])
    container = wrong["spec"]["template"]["spec"]["containers"][0]
    container["livenesProbe"] = container.pop("livenessProbe")
    with pytest.raises(ValidationError, match="livenesProbe"):
        validate(wrong, "1.34", strict=True)


def test_life_and_readiness_are_asked_for_where_they_are_told() -> None:
    container = _container()
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    (port,) = container["ports"]
    assert {get["port"] for get in asked.values()} == {port["name"]}
    (served,) = _documents()["Service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    assert _arguments("EXPOSE") == [str(port["containerPort"])]


def test_the_pod_runs_the_same_command_as_the_unit_and_the_image() -> None:
    container = _container()
    assert container["command"] + container["args"] == _service_command()


def test_what_selects_the_pods_is_what_they_are_labelled_with() -> None:
    labels = _documents()["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert _documents()["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert _documents()["Service"]["spec"]["selector"] == labels


def test_every_mounted_volume_is_there() -> None:
    pod = _pod()
    claimed = _documents()["StatefulSet"]["spec"]["volumeClaimTemplates"]
    there = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in claimed}
    mounted = {
        mount["name"]
        for container in (*pod["containers"], *pod["initContainers"])
        for mount in container["volumeMounts"]
    }
    assert mounted == there


def test_nothing_in_the_pod_runs_as_root_or_with_rights() -> None:
    pod = _pod()
    (user,) = _arguments("USER")
    assert user == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert pod["securityContext"]["runAsNonRoot"]
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_there_is_time_to_let_answers_end(tmp_path: Path) -> None:
    config = load(REPOSITORY / "docs/container/edged.yaml")
    (pause_s,) = (int(each) for each in _container()["lifecycle"]["preStop"]["exec"]["command"][1:])
    assert _pod()["terminationGracePeriodSeconds"] >= pause_s + config.server.drain_timeout + 30


def test_the_configurations_are_sound_and_the_same_but_for_names(tmp_path: Path) -> None:
    in_the_map = tmp_path / "edged.yaml"
    in_the_map.write_text(_documents()["ConfigMap"]["data"]["edged.yaml"])
    assert load(in_the_map).access.hosts
    beside = REPOSITORY / "docs/container/edged.yaml"
    mapped, shipped = (yaml.safe_load(path.read_text()) for path in (in_the_map, beside))
    del mapped["access"]["hosts"]
    assert mapped == shipped


def test_the_version_of_the_image_is_this_one() -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    pod = _pod()
    images = {container["image"] for container in (*pod["containers"], *pod["initContainers"])}
    assert images == {f"edged:{version}"}
