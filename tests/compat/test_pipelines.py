"""What pipelines are given works: the steps of these files run here as each service runs them.

The action, the GitLab job and the Tekton task are read as YAML, their own scripts run unchanged, against
a docker daemon and a registry of our own; the image is built, and the single file is made, as users do it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TypedDict
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from tests.compat import images, services
from tests.compat.conftest import available
from tests.compat.registries import Registry, registry
from tests.compat.services import CommandFailed, Unavailable, run
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    kaniko_archive,
    layer,
    noise,
    oci_layout,
    on_base,
    whiteout,
)

ROOT = Path(__file__).parent.parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
JOBS = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text())
JOB, WASTE_JOB = JOBS[".squashkit"], JOBS[".squashkit-waste"]
TASK = yaml.safe_load((ROOT / "ci/tekton-task.yaml").read_text())["spec"]
WASTE_TASK = yaml.safe_load((ROOT / "ci/tekton-waste.yaml").read_text())["spec"]
PAGE = (ROOT / "docs/pipelines.md").read_text()

PYTHON_BASE = [
    *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
    *("--include=python3,python3-pip,python3-venv", "bookworm"),
]
PYTHON = "squashkit-python:12"
OWN_IMAGE = "squashkit"
USER = {"ci": "a secret: with $signs"}
HOST = "registry.example"
"""The registry that the documentation writes of."""


BASE = ImageSpec([layer(directory("etc"), file("etc/os-release", b"ID=fedora\n"))], ["fedora:28"])
APP = on_base(
    BASE,
    layer(directory("root"), file("root/.netrc", b"secret"), file("cache", noise(300_000, "big"))),
    layer(whiteout("cache"), whiteout("root/.netrc"), file("app", noise(5000, "app"))),
    tags=["app:latest"],
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image and its base in one archive."""
    path = tmp_path_factory.mktemp("images") / "app.tar"
    docker_archive_old(path, [APP, BASE])
    return path


@pytest.fixture(scope="module")
def docker(state: Path, archive: Path) -> Iterator[services.Docker]:
    """A docker daemon for these tests alone, to which their base is an image of the Docker Hub's."""
    with ExitStack() as stack:
        mirror = available(lambda: stack.enter_context(registry(state)))
        available(lambda: _upload(archive, mirror, "fedora:28", "library/fedora:28"))
        start = services.docker(state, "pipelines", mirror=mirror.host)
        yield available(lambda: stack.enter_context(start))


@pytest.fixture
def stocked(docker: services.Docker, archive: Path) -> services.Docker:
    """The daemon, with the image and its base and no result of another test."""
    for name in docker.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "app").split():
        docker.run("image", "rm", "--force", name)
    docker.run("load", "--quiet", "--input", archive)
    return docker


def _upload(archive: Path, to: Registry, name: str, target: str, *options: str) -> None:
    flags = ["--dest-tls-verify=false", "--quiet", *options]
    source, url = f"docker-archive:{archive}:{name}", f"docker://{to.host}/{target}"
    run(["skopeo", "--insecure-policy", "copy", *flags, source, url])


def _stock(archive: Path, made: Registry, *options: str) -> None:
    for name in ("app:latest", "fedora:28"):
        _upload(archive, made, name, name, *options)


@pytest.fixture
def hub(state: Path, archive: Path) -> Iterator[Registry]:
    """A registry that holds the image and its base."""
    with ExitStack() as stack:
        made = available(lambda: stack.enter_context(registry(state)))
        available(lambda: _stock(archive, made))
        yield made


@pytest.fixture
def private_hub(state: Path, archive: Path) -> Iterator[Registry]:
    """The same for one user alone."""
    with ExitStack() as stack:
        made = available(lambda: stack.enter_context(registry(state, users=USER)))
        (login,) = USER.items()
        available(lambda: _stock(archive, made, "--dest-creds", ":".join(login)))
        yield made


def with_packages(make: Callable[[], object]) -> None:
    """Make something of packages: they come over the network, which a machine need not have."""
    try:
        make()
    except CommandFailed as error:
        raise Unavailable(str(error)) from error


def diff_ids(docker: services.Docker, name: str) -> list[str]:
    """The diff_ids of an image that docker holds, base first."""
    (found,) = json.loads(docker.run("image", "inspect", name))
    return list(found["RootFS"]["Layers"])


def run_script(
    command: Sequence[str | Path], script: str, folder: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Write a script to a file and run it with `command`, which has the file's name as `{0}`."""
    path = folder / "script"
    path.write_text(script)
    path.chmod(0o755)
    words = [str(path) if word == "{0}" else os.fspath(word) for word in command]
    return subprocess.run(
        words,
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- GitHub ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Ran:
    """What a run of the action left."""

    code: int
    said: str
    outputs: dict[str, str]
    summary: str


class Runner:
    """Runs the action's steps as GitHub's runner does; the first one once for all tests."""

    def __init__(self, folder: Path) -> None:
        self.temp = folder / "temp"
        self.temp.mkdir()
        self.installed = False

    def __call__(self, folder: Path, inputs: Mapping[str, str], **env: str) -> Ran:
        values = {name: spec.get("default", "") for name, spec in ACTION["inputs"].items()}
        values |= {"python": sys.executable, **inputs}
        context = {f"inputs.{name}": value for name, value in values.items()}
        summary = folder / "summary"
        summary.touch()
        said, code = "", 0
        for step in ACTION["runs"]["steps"]:
            if "id" not in step and self.installed:
                continue
            output = folder / "output"
            output.write_text("")
            own = {name: _evaluate(text, context) for name, text in step.get("env", {}).items()}
            own |= {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(ROOT)}
            own |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
            shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"]
            assert step["shell"] == "bash"
            done = run_script(shell, step["run"], folder, {**os.environ, **env, **own})
            said += done.stdout + done.stderr
            if done.returncode and "id" not in step:
                # The packages come over the network, which a machine need not have.
                raise Unavailable(f"squashkit cannot be installed: {said}")
            self.installed = True
            if code := done.returncode:
                break
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                context[f"steps.{step['id']}.outputs.{name}"] = value
        outputs = {name: _evaluate(output["value"], context) for name, output in ACTION["outputs"].items()}
        return Ran(code, said, outputs, summary.read_text())


def _evaluate(text: str, context: Mapping[str, str]) -> str:
    """What stands for an expression; nothing for a value that is not there."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: context.get(found[1], ""), text)


@pytest.fixture(scope="module")
def action(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The action, installed as its first step does it."""
    runner = Runner(tmp_path_factory.mktemp("runner"))
    folder = tmp_path_factory.mktemp("nothing")
    assert available(lambda: runner(folder, {"image": "./none.tar", "output": "x.tar"})).code == 5
    return runner


def test_the_action_squashes_an_image_of_docker(
    action: Runner, stocked: services.Docker, tmp_path: Path
) -> None:
    """With a tag, docker has the result under it, above the very layers of the base, however often."""
    inputs = {
        "image": "docker-daemon:app:latest",
        "keep-base": "fedora:28",
        "tag": "app:small",
    }
    for _ in range(2):
        ran = action(tmp_path, inputs, **stocked.env)
        assert ran.code == 0, ran.said
    layers = diff_ids(stocked, "app:small")
    assert len(layers) == 2
    assert layers[:1] == diff_ids(stocked, "fedora:28")
    assert len(diff_ids(stocked, "app:latest")) == 3
    assert int(ran.outputs["saved-bytes"]) > 299_000
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", ran.outputs["digest"])
    assert "saved" in ran.summary
    assert ran.summary.count("```") == 4


def test_the_action_puts_an_image_back_where_it_came_from(
    action: Runner, stocked: services.Docker, tmp_path: Path
) -> None:
    """Without a tag and an output the image's own name stands for the result."""
    inputs = {"image": "docker-daemon:app:latest", "keep-base": "fedora:28"}
    ran = action(tmp_path, inputs, **stocked.env)
    assert ran.code == 0, ran.said
    assert len(diff_ids(stocked, "app:latest")) == 2


def test_the_action_works_in_a_registry(action: Runner, hub: Registry, tmp_path: Path) -> None:
    """With an output in a registry, `digest` is what the registry has under the new tag."""
    inputs = {
        "image": f"docker://{hub.host}/app:latest",
        "keep-base": f"docker://{hub.host}/fedora:28",
        "output": f"docker://{hub.host}/app:small",
        "args": "--history drop\n--check",
    }
    ran = action(tmp_path, inputs)
    assert ran.code == 0, ran.said
    assert ran.outputs["digest"] == hub.tags("app")["small"]
    before, after = hub.layers("app", "latest"), hub.layers("app", "small")
    assert after[0] == before[0]
    assert len(after) == 2
    assert int(ran.outputs["saved-bytes"]) == hub.size(before) - hub.size(after)


def test_the_action_leaves_alone_what_saves_too_little(
    action: Runner, archive: Path, tmp_path: Path
) -> None:
    """An image that would not get smaller by `min-saving` goes through as it is, with 0 bytes saved."""
    shutil.copy(archive, tmp_path / "an app.tar")
    inputs = {
        "image": "an app.tar:app:latest",
        "keep-base": "an app.tar:fedora:28",
        "output": "as it is.tar",
    }
    ran = action(tmp_path, {**inputs, "min-saving": "10 MB"})
    assert ran.code == 0, ran.said
    assert ran.outputs["saved-bytes"] == "0"
    assert len(images.read_archive(tmp_path / "as it is.tar")["app:latest"].layers) == 3


def test_the_action_ends_as_squashkit_does(action: Runner, archive: Path, tmp_path: Path) -> None:
    """A failure has squashkit's exit code and its one line, and no outputs."""
    ran = action(tmp_path, {"image": str(archive), "keep-base": "none:1", "output": "small.tar"})
    assert ran.code == 1
    assert "squashkit: " in ran.said
    assert set(ran.outputs.values()) == {""}


@pytest.mark.parametrize(
    "name",
    [
        *("image", "keep-base", "tag", "output", "min-saving", "args"),
        *("max-wasted", "waste-args", "comment", "token", "squash"),
    ],
)
def test_an_input_is_never_run(action: Runner, archive: Path, name: str, tmp_path: Path) -> None:
    """Whatever an input holds, the shell takes it for a value."""
    inputs = {"image": f"{archive}:app:latest", "keep-base": "fedora:28", "tag": "app:1", "output": "x.tar"}
    ran = action(tmp_path, {**inputs, name: "$(touch pwned) `touch pwned` ';touch pwned;\"|touch pwned"})
    # An output may have any name, and what is neither true nor false says nothing.
    harmless = ("output", "comment", "token", "squash")
    assert ran.code in ((0,) if name in harmless else (1, 2, 5)), ran.said
    assert not (tmp_path / "pwned").exists()


def test_no_script_has_an_expression_in_it() -> None:
    """The scripts of the action and of the task hold nothing that a service would replace by an input."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
    for step in (*TASK["steps"], *WASTE_TASK["steps"]):
        assert "$(params." not in step["script"]


# --- what is wasted --------------------------------------------------------------------------


class Forge(ThreadingHTTPServer):
    """A host of code, as far as comments on changes go: GitHub's API, and GitLab's."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ForgeHandler)
        self.comments: list[Comment] = []
        self.asked: list[str] = []
        self.refuses = False
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Comment(TypedDict):
    """A comment, as both APIs tell it."""

    id: int
    body: str


class _ForgeHandler(BaseHTTPRequestHandler):
    server: Forge

    def do_GET(self) -> None:
        assert {"Bearer a-token", "a-token"} & {
            self.headers["Authorization"],
            self.headers["PRIVATE-TOKEN"],
        }
        query = dict(parse_qsl(urlsplit(self.path).query))
        start = (int(query["page"]) - 1) * int(query["per_page"])
        self._answer(200, self.server.comments[start : start + int(query["per_page"])])

    def do_POST(self) -> None:
        if self.server.refuses:
            self._answer(403, {"message": "no"})
            return
        comment = Comment(id=1000 + len(self.server.comments), body=self._body())
        self.server.comments.append(comment)
        self._answer(201, comment)

    def do_PATCH(self) -> None:
        (comment,) = (one for one in self.server.comments if one["id"] == int(self.path.rpartition("/")[2]))
        comment["body"] = self._body()
        self._answer(200, comment)

    do_PUT = do_PATCH

    def _body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def _answer(self, code: int, document: object) -> None:
        self.server.asked.append(f"{self.command} {urlsplit(self.path).path}")
        data = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A host of code with a hundred comments of others on a change."""
    made = Forge()
    made.comments += [Comment(id=number, body="looks good") for number in range(100)]
    yield made
    made.close()


def github(forge: Forge, folder: Path, event: object) -> dict[str, str]:
    """What GitHub's runner sets for a job."""
    (folder / "event.json").write_text(json.dumps(event))
    return {
        "GITHUB_API_URL": forge.url,
        "GITHUB_REPOSITORY": "team/app",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_WORKFLOW": "build",
        "GITHUB_JOB": "image",
    }


PULL = {"pull_request": {"number": 7}}


def test_the_action_tells_what_is_wasted(
    action: Runner, archive: Path, forge: Forge, tmp_path: Path
) -> None:
    """A change gets one comment, however often the job runs; the reports are where the outputs say, and
    the image is squashed after that."""
    inputs = {"image": f"{archive}:app:latest", "keep-base": "fedora:28", "output": "small.tar"}
    inputs |= {"comment": "true", "token": "a-token", "max-wasted": "1MB", "waste-args": "--max-layers\n9"}
    for number in (1, 2):
        inputs["output"] = f"small{number}.tar"
        ran = action(tmp_path, inputs, **github(forge, tmp_path, PULL))
        assert ran.code == 0, ran.said
    assert len(forge.comments) == 101
    text = Path(ran.outputs["markdown"]).read_text()
    mark, _, body = forge.comments[-1]["body"].partition("\n")
    assert mark.startswith("<!-- squashkit waste ")
    assert body == text
    assert text in ran.summary
    assert text.startswith("### Passed: 300 KB wasted in `app:latest`")
    assert json.loads(Path(ran.outputs["report"]).read_text())["dead"]["bytes"] == 300_006
    assert forge.asked[-1] == "PATCH /repos/team/app/issues/comments/1100"
    assert (tmp_path / "small2.tar").exists()


def test_another_image_has_another_comment(
    action: Runner, archive: Path, forge: Forge, tmp_path: Path
) -> None:
    """Two images of one job have a comment each, and a new tag is no new image."""
    for path in ("a.tar", "b.tar"):
        shutil.copy(archive, tmp_path / path)
    for image in ("a.tar:app:latest", "b.tar:app:latest", "a.tar:fedora:28"):
        inputs = {"image": image, "squash": "false", "comment": "true", "token": "a-token"}
        ran = action(tmp_path, inputs, **github(forge, tmp_path, PULL))
        assert ran.code == 0, ran.said
    assert len(forge.comments) == 103


def test_the_action_fails_where_too_much_is_wasted(
    action: Runner, archive: Path, forge: Forge, tmp_path: Path
) -> None:
    """A gate that fails ends the job with 3 before anything is squashed; the comment is written."""
    inputs = {"image": f"{archive}:app:latest", "keep-base": "fedora:28", "output": "small.tar"}
    inputs |= {"comment": "true", "token": "a-token", "max-wasted": "20KB"}
    ran = action(tmp_path, inputs, **github(forge, tmp_path, PULL))
    assert ran.code == 3
    assert "::error::" in ran.said
    assert "### Failed" in forge.comments[-1]["body"]
    assert "### Failed" in ran.summary
    assert not (tmp_path / "small.tar").exists()


@pytest.mark.parametrize("event", [{}, {"pull_request": None}, {"push": {}}])
def test_without_a_pull_request_nobody_is_asked(
    action: Runner, archive: Path, forge: Forge, event: object, tmp_path: Path
) -> None:
    """A push or a schedule has no change to comment on: nothing is sent, and nothing fails."""
    inputs = {"image": f"{archive}:app:latest", "squash": "false", "comment": "true", "token": "a-token"}
    ran = action(tmp_path, inputs, **github(forge, tmp_path, event))
    assert ran.code == 0, ran.said
    assert forge.asked == []
    assert ran.outputs["markdown"]
    assert ran.outputs["digest"] == ""


def test_a_comment_that_is_refused_fails_no_job(
    action: Runner, archive: Path, forge: Forge, tmp_path: Path
) -> None:
    """With a token that may only read, as of a fork's change, the job says so and goes on."""
    forge.refuses = True
    inputs = {"image": f"{archive}:app:latest", "squash": "false", "comment": "true", "token": "a-token"}
    ran = action(tmp_path, inputs, **github(forge, tmp_path, PULL))
    assert ran.code == 0, ran.said
    assert "::warning::squashkit: no comment was written: HTTP Error 403" in ran.said


def run_here(script: str, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script where `squashkit` is this one, as in squashkit's own image."""
    words = ["sh", "-e", "{0}", *arguments]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return run_script(words, script, folder, {**os.environ, "PATH": path, **env})


def gitlab(forge: Forge, **more: str) -> dict[str, str]:
    """What GitLab's runner sets for a job of a merge request."""
    own = {"CI_API_V4_URL": forge.url, "CI_PROJECT_ID": "5", "CI_JOB_NAME": "waste: [app]"}
    return {**WASTE_JOB["variables"], **own, "CI_MERGE_REQUEST_IID": "7", **more}


def test_the_waste_job_comments_and_fails(archive: Path, forge: Forge, tmp_path: Path) -> None:
    """GitLab's job leaves both reports, writes one comment a job, and ends as squashkit does."""
    script = "\n".join(WASTE_JOB["script"])
    settings = gitlab(
        forge,
        SQUASHKIT_IMAGE=f"{archive}:app:latest",
        SQUASHKIT_KEEP_BASE="fedora:28",
        SQUASHKIT_WASTE_ARGS="--max-layers 9",
        SQUASHKIT_COMMENT_TOKEN="a-token",
    )
    for limit, code in (("20KB", 3), ("1MB", 0)):
        done = run_here(script, tmp_path, **settings | {"SQUASHKIT_MAX_WASTED": limit})
        assert done.returncode == code, done.stderr
    assert len(forge.comments) == 101
    assert "\n### Passed: 300 KB wasted" in forge.comments[-1]["body"]
    assert forge.asked[-1] == "PUT /projects/5/merge_requests/7/notes/1100"
    for path in WASTE_JOB["artifacts"]["paths"]:
        assert (tmp_path / path).stat().st_size


@pytest.mark.parametrize("missing", ["CI_MERGE_REQUEST_IID", "SQUASHKIT_COMMENT_TOKEN"])
def test_the_waste_job_asks_nobody_without_a_merge_request(
    archive: Path, forge: Forge, missing: str, tmp_path: Path
) -> None:
    """Without a merge request, or a token, there is no comment."""
    given = {"SQUASHKIT_IMAGE": f"{archive}:app:latest", "SQUASHKIT_COMMENT_TOKEN": "a-token", missing: ""}
    done = run_here("\n".join(WASTE_JOB["script"]), tmp_path, **gitlab(forge, **given))
    assert done.returncode == 0, done.stderr
    assert forge.asked == []


def test_the_waste_job_goes_on_without_a_comment(archive: Path, forge: Forge, tmp_path: Path) -> None:
    """A comment that is refused fails no job."""
    forge.refuses = True
    given = {"SQUASHKIT_IMAGE": f"{archive}:app:latest", "SQUASHKIT_COMMENT_TOKEN": "a-token"}
    done = run_here("\n".join(WASTE_JOB["script"]), tmp_path, **gitlab(forge, **given))
    assert done.returncode == 0, done.stderr
    assert "no comment was written" in done.stderr


@pytest.mark.parametrize(("limit", "passed"), [("20KB", False), ("", True)])
def test_the_waste_task_tells_and_fails(archive: Path, limit: str, passed: bool, tmp_path: Path) -> None:
    """Tekton's task leaves both reports in its workspace and the numbers in its results, and fails with the
    gate."""
    (step,) = WASTE_TASK["steps"]
    script = step["script"]
    for result in WASTE_TASK["results"]:
        script = script.replace(f"$(results.{result['name']}.path)", str(tmp_path / result["name"]))
    env = dict.fromkeys((one["name"] for one in step["env"]), "")
    env |= {"IMAGE": f"{archive}:app:latest", "KEEP_BASE": "fedora:28", "MAX_WASTED": limit}
    done = run_here(script, tmp_path, "--max-layers", "9", **env | {"REPORTS": str(tmp_path)})
    assert done.returncode == (0 if passed else 3), done.stderr
    assert (tmp_path / "passed").read_text() == ("true" if passed else "false")
    assert (tmp_path / "dead-bytes").read_text() == "300006"
    assert json.loads((tmp_path / "waste.json").read_text())["dead"]["bytes"] == 300_006
    assert (tmp_path / "waste.md").read_text() in done.stdout


# --- squashkit's own image -------------------------------------------------------------------


def python_base() -> Path:
    """The root file system of a Debian with Python and pip."""
    with images.cache_lock():
        key = hashlib.sha256("\n".join(PYTHON_BASE).encode()).hexdigest()[:12]
        path = images.cache_folder() / f"python-{key}.tar"
        if not path.exists():
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            with_packages(lambda: run([*PYTHON_BASE, partial]))
            partial.replace(path)
        return path


@pytest.fixture(scope="module")
def own_image(docker: services.Docker, tmp_path_factory: pytest.TempPathFactory) -> services.Docker:
    """The daemon, with squashkit's own image built by its Dockerfile."""
    folder = tmp_path_factory.mktemp("python")
    lines = [f"FROM {PYTHON}"]
    if certificates := os.environ.get("PIP_CERT"):
        # The image is to trust whom this machine trusts.
        shutil.copy(certificates, folder / "certificates")
        lines += ["COPY certificates /etc/ssl/machine", "ENV PIP_CERT=/etc/ssl/machine"]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")

    def build() -> None:
        docker.run("import", python_base(), PYTHON)
        docker.run("build", "--quiet", "--tag", PYTHON, folder)
        options = ["--network", "host", "--build-arg", f"BASE={PYTHON}", "--tag", OWN_IMAGE]
        with_packages(lambda: docker.run("build", "--quiet", *options, ROOT))

    available(build)
    return docker


def contain(
    docker: services.Docker, folder: Path, *command: str, options: Sequence[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run squashkit's own image as a service does: in a folder that anybody may write to."""
    folder.chmod(0o777)
    words = ["docker", "run", "--rm", "--network", "host", "--volume", f"{folder}:{folder}"]
    words += ["--workdir", str(folder), *options]
    words += [f"--env={name}={value}" for name, value in env.items()]
    return subprocess.run(
        [*words, *command],
        env={**os.environ, **docker.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_image_runs_squashkit_as_nobody(own_image: services.Docker, tmp_path: Path) -> None:
    """The image's command is squashkit, its user is none that has rights, and it can say its version."""
    (found,) = json.loads(own_image.run("image", "inspect", OWN_IMAGE))
    assert found["Config"]["Entrypoint"] == ["squashkit"]
    assert found["Config"]["User"].split(":")[0] not in ("", "0", "root")
    done = contain(own_image, tmp_path, OWN_IMAGE, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("squashkit")


def test_the_image_adds_little_to_its_base(own_image: services.Docker) -> None:
    """What it is built from and with stays out: above the base there are less than 25 MB."""
    base, own = diff_ids(own_image, PYTHON), diff_ids(own_image, OWN_IMAGE)
    assert own[: len(base)] == base
    assert len(own) - len(base) <= 2
    sizes = [json.loads(own_image.run("image", "inspect", name))[0]["Size"] for name in (PYTHON, OWN_IMAGE)]
    assert sizes[1] - sizes[0] < 25_000_000


# --- GitLab ----------------------------------------------------------------------------------


def run_job(
    docker: services.Docker, folder: Path, shell: Sequence[str], **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the job's script as GitLab's runner does, with one shell for all its lines."""
    script = folder / "script"
    script.write_text("\n".join(JOB["script"]))
    options = ["--entrypoint", *JOB["image"]["entrypoint"]]
    command = [OWN_IMAGE, *shell, str(script)]
    return contain(docker, folder, *command, options=options, **JOB["variables"] | variables)


def variables_for_later(folder: Path) -> dict[str, str]:
    """What the job leaves in its dotenv artifact."""
    lines = (folder / JOB["artifacts"]["reports"]["dotenv"]).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("shell", [["bash", "-eo", "pipefail"], ["sh", "-e"]], ids=["bash", "sh"])
def test_the_job_squashes_in_its_registry(
    own_image: services.Docker, private_hub: Registry, shell: list[str], tmp_path: Path
) -> None:
    """The job logs in as GitLab lets it, and leaves its variables and its report for later jobs."""
    hub, ((user, password),) = private_hub, USER.items()
    (tmp_path / "file").touch()
    (tmp_path / "another").touch()
    done = run_job(
        *(own_image, tmp_path, shell),
        SQUASHKIT_IMAGE=f"docker://{hub.host}/app:latest",
        SQUASHKIT_KEEP_BASE=f"docker://{hub.host}/fedora:28",
        SQUASHKIT_OUTPUT=f"docker://{hub.host}/app:small",
        SQUASHKIT_ARGS="--history keep --message *",
        CI_REGISTRY=hub.host,
        CI_REGISTRY_USER=user,
        CI_REGISTRY_PASSWORD=password,
    )
    assert done.returncode == 0, done.stderr
    assert hub.layers("app", "small")[0] == hub.layers("app", "latest")[0]
    saved = hub.size(hub.layers("app", "latest")) - hub.size(hub.layers("app", "small"))
    digest = hub.tags("app")["small"]
    wanted = {"SQUASHKIT_DIGEST": digest, "SQUASHKIT_SAVED_BYTES": str(saved)}
    assert variables_for_later(tmp_path) == wanted
    (path,) = JOB["artifacts"]["paths"]
    assert json.loads((tmp_path / path).read_text())["manifest_digest"] == digest
    assert password not in done.stdout + done.stderr


# --- Tekton ----------------------------------------------------------------------------------


@dataclass(slots=True)
class TaskRun:
    """A run of the task, as Tekton makes one: what stands for its variables, and what came of it."""

    docker: services.Docker
    folder: Path
    params: dict[str, str]
    args: list[str]
    config: Path | None = None
    """What is bound to the workspace."""

    def replaced(self, text: str) -> str:
        values = {f"params.{name}": value for name, value in self.params.items()}
        values |= {f"results.{r['name']}.path": str(self.folder / r["name"]) for r in TASK["results"]}
        values["workspaces.dockerconfig.path"] = str(self.config or "")
        done = re.sub(r"\$\(([\w.-]+)\)", lambda found: values.get(found[1], found[0]), text)
        assert not re.search(r"\$\((params|results|workspaces)\b", done), done
        return done

    def __call__(self, *options: str) -> subprocess.CompletedProcess[str]:
        (step,) = TASK["steps"]
        script = self.folder / "script"
        script.write_text(self.replaced(step["script"]))
        script.chmod(0o755)
        words: list[str] = []
        for word in step["args"]:
            words += self.args if word == "$(params.args[*])" else [self.replaced(word)]
        env = {pair["name"]: self.replaced(pair["value"]) for pair in step["env"]}
        image = self.replaced(step["image"])
        rights = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        assert step["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        options = ("--entrypoint", str(script), *rights, *options)
        return contain(self.docker, self.folder, image, *words, options=options, **env)

    def result(self, name: str) -> str:
        return (self.folder / name).read_text()


def task_run(docker: services.Docker, hub: Registry, folder: Path, **params: str) -> TaskRun:
    """The task for the image in a registry, with the defaults of what is not given."""
    values = {p["name"]: p["default"] for p in TASK["params"] if isinstance(p.get("default"), str)}
    values |= {
        "squashkit": OWN_IMAGE,
        "image": f"docker://{hub.host}/app:latest",
        "keep-base": f"docker://{hub.host}/fedora:28",
        "output": f"docker://{hub.host}/app:small",
    }
    return TaskRun(docker, folder, values | params, ["--message", "by the task"])


def test_the_task_squashes_from_registry_to_registry(
    own_image: services.Docker, hub: Registry, tmp_path: Path
) -> None:
    """The results are the registry's digest and what its blobs are smaller; once more changes nothing."""
    run_task = task_run(own_image, hub, tmp_path)
    done = run_task()
    assert done.returncode == 0, done.stderr
    before, after = hub.layers("app", "latest"), hub.layers("app", "small")
    assert after[0] == before[0]
    assert len(after) == 2
    assert run_task.result("digest") == hub.tags("app")["small"]
    assert run_task.result("saved-bytes") == str(hub.size(before) - hub.size(after))
    blobs = hub.blobs()
    done = run_task()
    assert done.returncode == 0, done.stderr
    assert hub.blobs() == blobs


@pytest.mark.parametrize("place", ["workspace", "home"])
def test_the_task_logs_in(
    own_image: services.Docker, private_hub: Registry, place: str, tmp_path: Path
) -> None:
    """Logins come from the workspace, or from where Tekton puts those of the service account."""
    run_task = task_run(own_image, private_hub, tmp_path)
    assert run_task().returncode == 5
    config = tmp_path / "docker"
    config.mkdir()
    ((user, password),) = USER.items()
    words: list[str | Path] = [
        "skopeo",
        "login",
        "--authfile",
        config / "config.json",
        "--tls-verify=false",
    ]
    run([*words, "--username", user, "--password", password, private_hub.host])
    (config / "config.json").chmod(0o644)
    options: list[str] = []
    if place == "workspace":
        run_task.config = config
    else:
        options = ["--volume", f"{config}:/tmp/.docker"]
    done = run_task(*options)
    assert done.returncode == 0, done.stderr
    assert run_task.result("digest") == private_hub.tags("app")["small"]


@pytest.mark.parametrize("name", ["image", "keep-base", "output", "min-saving"])
def test_a_parameter_is_never_run(
    own_image: services.Docker, hub: Registry, name: str, tmp_path: Path
) -> None:
    """Whatever a parameter holds, the shell takes it for a value."""
    evil = "$(touch pwned) `touch pwned` ';touch pwned;\"|touch pwned"
    run_task = task_run(own_image, hub, tmp_path, **{name: evil})
    assert run_task().returncode in ((0,) if name == "output" else (1, 2, 5))
    assert not (tmp_path / "pwned").exists()


# --- every platform --------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["action", "job", "task"])
def test_all_platforms_go_together(
    action: Runner, own_image: services.Docker, hub: Registry, service: str, tmp_path: Path
) -> None:
    """With `--platform all` the digest is the index's, and the saved bytes are those of all platforms."""
    platforms = ("linux/amd64", "linux/arm64")
    specs = [ImageSpec(APP.layers, ["app:1"], platform=platform) for platform in platforms]
    oci_layout(tmp_path / "layout", specs, nested=True)
    args = ["--platform", "all", "--keep-layers", "1"]
    image, output = f"oci:{tmp_path}/layout:1", f"docker://{hub.host}/app:all"
    if service == "action":
        ran = action(tmp_path, {"image": image, "output": output, "args": " ".join(args)})
        assert ran.code == 0, ran.said
        digest, saved = ran.outputs["digest"], ran.outputs["saved-bytes"]
    elif service == "job":
        variables = {"SQUASHKIT_IMAGE": image, "SQUASHKIT_OUTPUT": output, "SQUASHKIT_ARGS": " ".join(args)}
        done = run_job(own_image, tmp_path, ["bash", "-eo", "pipefail"], **variables)
        assert done.returncode == 0, done.stderr
        digest, saved = variables_for_later(tmp_path).values()
    else:
        run_task = task_run(own_image, hub, tmp_path, **{"image": image, "output": output, "keep-base": ""})
        run_task.args = args
        done = run_task()
        assert done.returncode == 0, done.stderr
        digest, saved = run_task.result("digest"), run_task.result("saved-bytes")
    assert digest == hub.tags("app")["all"]
    results = [hub.manifest("app", one["digest"]) for one in hub.manifest("app", digest)["manifests"]]
    assert len(results) == len(platforms)
    stored = sum(layer["size"] for result in results for layer in result["layers"])
    before = sum(len(gzip.compress(data, 6, mtime=0)) for data in APP.layers) * len(platforms)
    assert int(saved) == before - stored


# --- one file --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single file, as `make pyz` writes it."""
    path = tmp_path_factory.mktemp("pyz") / "squashkit.pyz"
    words = ["make", "-s", "-C", str(ROOT), "-o", ".venv/installed-dev", "pyz"]
    words += [f"BIN={Path(sys.executable).parent}", f"PYZ={path}"]
    available(lambda: with_packages(lambda: run(words)))
    return path


def run_pyz(path: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the file with the Python that the tests' environment was made of, and nothing else."""
    path_of_python = f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
    words = ["env", "-i", f"PATH={path_of_python}", f"SHIV_ROOT={folder / 'shiv'}", "python3", str(path)]
    return subprocess.run(
        [*words, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_single_file_squashes(pyz: Path, archive: Path, tmp_path: Path) -> None:
    """In an empty environment it reads and writes gzip and zstd, and so has its compiled parts."""
    for codec in ("gzip", "zstd"):
        target = f"oci-archive:{codec}.tar:small"
        words = ["squash", f"{archive}:app:latest", "--all", "--compress", codec, "-o", target]
        done = run_pyz(pyz, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        done = run_pyz(pyz, tmp_path, "diff", f"{archive}:app:latest", target)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_single_file_has_parts_for_every_python_it_names(pyz: Path) -> None:
    """For each Python of the documentation it holds what is compiled, once."""
    first, last = re.findall(r"CPython 3\.(\d+) to 3\.(\d+)", PAGE)[0]
    with zipfile.ZipFile(pyz) as archive:
        names = archive.namelist()
    for minor in range(int(first), int(last) + 1):
        wanted = ["isal/isal_zlib", "zlib_ng/zlib_ng", "backports/zstd/_zstd"]
        for module in wanted[: 3 if minor < 14 else 2]:
            found = [name for name in names if f"{module}.cpython-3{minor}-" in name]
            assert len(found) == 1, (module, minor)


def test_the_single_file_says_where_it_cannot_run(pyz: Path, tmp_path: Path) -> None:
    """A Python without compiled parts in it gets one line and exit code 1, not a traceback."""
    poor = tmp_path / "poor.pyz"
    ours = f"cpython-3{sys.version_info.minor}-"
    with zipfile.ZipFile(pyz) as full, zipfile.ZipFile(poor, "w") as changed:
        for entry in full.infolist():
            if ours not in entry.filename:
                data = full.read(entry)
                if entry.filename == "environment.json":
                    data = json.dumps({**json.loads(data), "build_id": "poor"}).encode()
                changed.writestr(entry, data)
    done = run_pyz(poor, tmp_path, "--version")
    assert done.returncode == 1
    assert done.stderr.startswith("squashkit: ")
    assert done.stderr.count("\n") == 1


# --- the documentation -----------------------------------------------------------------------


def blocks(heading: str, kind: str = "sh") -> list[str]:
    """The code blocks below a heading of the page."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


def shell(script: str, folder: Path, **env: str) -> None:
    """Run a block of the page where `squashkit` is this one."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-eo", "pipefail", "{0}"]
    done = run_script(command, script, folder, {**os.environ, "PATH": path, **env})
    assert done.returncode == 0, script + done.stderr


def build_context(folder: Path) -> None:
    """What a build is made from: a file is replaced one step later, so the first one is dead."""
    (folder / "big").write_bytes(noise(300_000, "big"))
    (folder / "small").write_bytes(noise(3000, "small"))
    (folder / "Dockerfile").write_text("FROM fedora:28\nCOPY big /data\nCOPY small /data\n")


def test_the_steps_after_docker_build_run(stocked: services.Docker, tmp_path: Path) -> None:
    """What the page has for docker gives images of the base's layer and one more."""
    build_context(tmp_path)
    for block in blocks("After docker build"):
        shell(block, tmp_path, **stocked.env)
    for name in ("app:squashed", "app:piped"):
        layers = diff_ids(stocked, name)
        assert len(layers) == 2
        assert layers[:1] == diff_ids(stocked, "fedora:28")


def test_the_steps_after_buildah_run(state: Path, archive: Path, tmp_path: Path) -> None:
    """What the page has for buildah gives images of the base's layer and one more."""
    storage = state / "buildah"
    storage.mkdir()
    roots = f'graphroot = "{storage}/root"\nrunroot = "{storage}/run"\n'
    (storage / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{roots}')
    env = {"CONTAINERS_STORAGE_CONF": str(storage / "storage.conf"), "TMPDIR": str(tmp_path)}

    base = tmp_path / "base"
    base.mkdir()
    (base / "os-release").write_text("ID=fedora\n")
    (base / "Dockerfile").write_text("FROM scratch\nCOPY os-release /etc/os-release\n")
    available(lambda: run(["buildah", "bud", "--quiet", "-t", "fedora:28", base], env=env))
    build_context(tmp_path)
    first, second = blocks("After buildah")
    shell(first, tmp_path, **env)
    words = ["buildah", "inspect", "--type", "image"]
    layers = {
        name: json.loads(run([*words, f"localhost/{name}"], env=env))["OCIv1"]["rootfs"]["diff_ids"]
        for name in ("fedora:28", "app:latest", "app:squashed")
    }
    assert len(layers["app:latest"]) == 3
    assert len(layers["app:squashed"]) == 2
    assert layers["app:squashed"][:1] == layers["fedora:28"]
    run(["buildah", "rmi", "localhost/app:squashed"], env=env)
    shell(second, tmp_path, **env)
    found = json.loads(run([*words, "app:squashed"], env=env))["OCIv1"]["rootfs"]["diff_ids"]
    assert found == layers["app:squashed"]


def test_the_steps_after_kaniko_run(hub: Registry, archive: Path, tmp_path: Path) -> None:
    """What follows kaniko on the page works with a file as kaniko writes it, and in a registry."""
    kaniko_archive(tmp_path / "app.tar", [APP])
    target = f"docker://{hub.host}/app:build"
    words = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--quiet"]
    run([*words, f"docker-archive:{archive}:app:latest", target])
    for block in blocks("After kaniko"):
        kept = [line for line in block.splitlines() if not line.startswith("/kaniko/")]
        shell("\n".join(kept).replace(HOST, hub.host), tmp_path)
        layers = hub.layers("app", "1.0")
        assert layers[0] == hub.layers("fedora", "28")[0]
        assert len(layers) == 2


def test_the_commands_with_the_image_run(own_image: services.Docker, archive: Path, tmp_path: Path) -> None:
    """What the page does with squashkit's own image works, for files and for docker's images."""
    shutil.copy(archive, tmp_path / "app.tar")
    own_image.run("load", "--quiet", "--input", archive)
    socket = own_image.env["DOCKER_HOST"].removeprefix("unix://")
    for block in blocks("squashkit's own image"):
        lines = [line for line in block.splitlines() if not line.startswith("docker build ")]
        script = "\n".join(lines).replace("/var/run/docker.sock:", f"{socket}:")
        shell(script, tmp_path, **own_image.env)
    squashed = tmp_path / "app-squashed.tar"
    assert squashed.stat().st_uid == os.getuid()
    assert len(images.read_archive(squashed)["app:squashed"].layers) == 2
    assert len(diff_ids(own_image, "app:inside")) == 2


def test_the_page_names_all_there_is_to_set() -> None:
    """Every input, variable, parameter, output and result stands there, and the examples use no other."""
    for example in blocks("GitHub Actions", "yaml"):
        read = yaml.safe_load(example)
        steps = read if isinstance(read, list) else read["steps"]
        (used,) = [step["with"] for step in steps if "with" in step]
        assert set(used) <= set(ACTION["inputs"])
    for example in blocks("GitLab CI", "yaml"):
        for job in [one for one in yaml.safe_load(example).values() if "extends" in one]:
            assert set(job["variables"]) <= set(JOBS[job["extends"]]["variables"])
    (example,) = blocks("Tekton", "yaml")
    ((task,),) = [yaml.safe_load(example)]
    needed = {param["name"] for param in TASK["params"] if "default" not in param}
    given = {param["name"] for param in task["params"]}
    assert needed <= given <= {param["name"] for param in TASK["params"]}
    names = [*ACTION["inputs"], *ACTION["outputs"], *JOB["variables"], *WASTE_JOB["variables"]]
    tasks = [(task, kind) for task in (TASK, WASTE_TASK) for kind in ("params", "results", "workspaces")]
    names += [spec["name"] for task, kind in tasks for spec in task[kind]]
    for name in names:
        assert f"`{name}`" in PAGE, name
