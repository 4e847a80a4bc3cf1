"""Build `.venv`: everything that pallas needs on a machine without ROS, from pinned wheels, and the
generated messages.

    make setup
        with the python3 of this shell, or the first suitable one of python3.11, 3.12, 3.10
    make setup PYTHON=python3.12      with this one

Runs on any Python >= 3.8 with its standard library. Each step stores a hash of its inputs, so that
a second run repeats only changed steps, and an interrupted run resumes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
WORK = ROOT / "build" / "setup"
STAMPS = VENV / "setup-stamps.json"
LOCK = ROOT / "requirements" / "lock.txt"
UNDERLAY = ROOT / "tools" / "underlay"
DATA = ("launch", "config", "urdf", "models")
# in order of preference; the versions that have ROS 2 Kilted wheels
SUPPORTED = (
    (3, 11),
    (3, 12),
    (3, 10),
)


class SetupError(Exception):
    """Why the environment cannot be built, and what to do, in one sentence."""


# ----------------------------------------------------------------------------------------------
# progress


class Progress:
    """A line with the current step: rewritten in place on a terminal, printed every 15 s
    elsewhere.
    """

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.shown = self.start
        self.on_terminal = sys.stdout.isatty()

    def step(self, text: str) -> None:
        self._write(f"[{time.monotonic() - self.start:4.0f} s] {text}", "\n")

    def detail(self, text: str) -> None:
        now = time.monotonic()
        if now - self.shown >= (0.5 if self.on_terminal else 15.0):
            self._write(f"[{now - self.start:4.0f} s]   {text}", "" if self.on_terminal else "\n")
            self.shown = now

    def _write(self, text: str, end: str) -> None:
        print(("\r\x1b[K" if self.on_terminal else "") + text, end=end, flush=True)
        self.shown = time.monotonic()


def run(
    command: list[str],
    log: str,
    progress: Progress,
    detail: Callable[[str], str],
    env: dict[str, str],
) -> str:
    """Run `command`, keep its output in build/setup/`log`, and show `detail(output so far)`.

    Returns the output; raises SetupError if the command fails.
    """
    path = WORK / log
    with path.open("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                progress.detail(detail(path.read_text(encoding="utf-8", errors="replace")))
        except BaseException:
            process.terminate()
            process.wait()
            raise
    text = path.read_text(encoding="utf-8", errors="replace")
    if process.returncode < 0:
        raise SetupError(
            f"`{Path(command[0]).name} {command[1]} {command[2]} ...` was killed by signal"
            f" {-process.returncode}; run `make setup` again"
        )
    if process.returncode:
        print("\n".join(text.strip().splitlines()[-15:]), file=sys.stderr)
        missing = re.search(r"No matching distribution found for (\S+)", text)
        if missing:
            version = platform.python_version()
            machine = platform.machine()
            raise SetupError(
                f"there is no package {missing[1]} for Python {version} on {machine}, or the"
                " package index cannot be reached"
            )
        raise SetupError(
            f"`{Path(command[0]).name} {command[1]} {command[2]} ...` failed; its output is in"
            f" {path.relative_to(ROOT)}"
        )
    return text


# ----------------------------------------------------------------------------------------------
# checks of the machine


class Interpreter(NamedTuple):
    """A Python interpreter to build on."""

    executable: str
    version: tuple[int, int, int]
    implementation: str
    headers: bool  # Python.h is there
    venv: bool  # ensurepip is there

    def __str__(self) -> str:
        return f"{self.implementation} {'.'.join(map(str, self.version))}"


def examine(python: str) -> Interpreter | None:
    """Query an interpreter (for a virtual environment, its base interpreter); None if it cannot be
    run.
    """
    code = (
        "import importlib.util, json, os, platform, sys,"
        " sysconfig;print(json.dumps([os.path.realpath(getattr(sys, '_base_executable',"
        " sys.executable)), sys.version_info[:3],platform.python_implementation(),"
        " os.path.exists(os.path.join(sysconfig.get_path('include'),"
        " 'Python.h')),importlib.util.find_spec('ensurepip') is not None]))"
    )
    try:
        found = subprocess.run(
            [python, "-I", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=30,
        )
        executable, version, *rest = json.loads(found.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(executable, tuple(version), *rest)


def find_python() -> Interpreter:
    """Return the interpreter to build on: $PYTHON if set, else that of .venv, this one, or the
    first supported one on PATH.
    """
    asked = os.environ.get("PYTHON")
    names = (
        [asked]
        if asked
        else [
            str(PYTHON),
            sys.executable,
            *(f"python{major}.{minor}" for major, minor in SUPPORTED),
        ]
    )
    seen = [found for found in map(examine, names) if found]
    for found in seen:
        if found.version[:2] in SUPPORTED and found.implementation == "CPython":
            return found
    have = ", ".join(map(str, seen)) or f"no {asked or 'python3'}"
    raise SetupError(
        f"there are ROS 2 wheels for CPython 3.10, 3.11 and 3.12, and here is {have}: "
        "install one of them, and if it is not found name it: make setup PYTHON=/path/to/python3.11"
    )


def check_machine(python: Interpreter) -> None:
    """Check the platform; the error names every missing apt package in one sentence."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"there are ROS 2 wheels for Linux on x86_64, and this is {sys.platform} on"
            f" {platform.machine()}: use an installation of ROS 2 and colcon build"
        )
    version = ".".join(map(str, python.version[:2]))
    packages = [tool for tool in ("cmake", "make", "g++") if not shutil.which(tool)]
    packages += [] if python.venv else [f"python{version}-venv"]
    packages += [] if python.headers else [f"python{version}-dev"]
    if packages:
        raise SetupError(
            f"missing here: {', '.join(packages)}; install with: sudo apt-get install"
            f" {' '.join(packages)}"
        )


def clean_environment() -> dict[str, str]:
    """Return this environment without any sourced ROS, and with the tools of .venv first."""
    foreign = re.compile(
        r"(AMENT|COLCON|ROS|RMW|CMAKE_PREFIX|PYTHONPATH|PYTHONHOME|LD_LIBRARY|VIRTUAL_ENV|_ROS_WHEELS|MAKEFLAGS|MFLAGS|MAKELEVEL)"
    )
    env = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    env["PATH"] = f"{VENV / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env


# ----------------------------------------------------------------------------------------------
# the steps


def digest(*inputs: object) -> str:
    """Hash `inputs`: the contents of a file or folder below the repository (Path), the text of
    anything else.
    """
    value = hashlib.sha256()
    for item in inputs:
        if not isinstance(item, Path):
            value.update(f"{item}\0".encode())
            continue
        for path in sorted(item.rglob("*")) if item.is_dir() else [item]:
            if path.is_file():
                content = path.read_bytes()
                value.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return value.hexdigest()[:16]


class Stamps:
    """Completed steps, {step: hash of its inputs}, stored in the environment itself."""

    def __init__(self) -> None:
        self.done: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            self.done = json.loads(STAMPS.read_text())

    def fits(self, step: str, key: str) -> bool:
        return self.done.get(step) == key

    def set(self, step: str, key: str) -> None:
        self.done[step] = key
        temporary = STAMPS.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.done, indent=1))
        temporary.replace(STAMPS)


def site_packages() -> Path:
    return next((VENV / "lib").glob("python3.*/site-packages"))


def make_venv(python: Interpreter, progress: Progress) -> None:
    shutil.rmtree(WORK / "messages", ignore_errors=True)  # configured for the previous environment
    run(
        [python.executable, "-m", "venv", "--clear", str(VENV)],
        "venv.log",
        progress,
        lambda _: "venv",
        clean_environment(),
    )


def install_packages(progress: Progress) -> None:
    """Install the pinned wheels without dependencies.

    torch is installed with dependencies, because only its CUDA build has some.
    """
    site = site_packages()
    for half_installed in (p for p in site.glob("*.dist-info") if not (p / "RECORD").exists()):
        shutil.rmtree(
            half_installed
        )  # from an interrupted run; pip would assume that it is installed
    pins = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    torch = [pin for pin in pins if pin.startswith("torch==")]
    without_torch = WORK / "lock-without-torch.txt"
    without_torch.write_text("\n".join(pin for pin in pins if pin not in torch) + "\n")

    def detail(output: str) -> str:
        if "Installing collected packages" not in output:
            return (
                "fetching"
                f" {len(re.findall('^(?:Collecting|Processing|Ignoring|Requirement) ', output, re.M))}/{len(pins)}"  # noqa: E501
            )
        return f"installing, {len(list(site.glob('*.dist-info')))} done"

    def torch_detail(output: str) -> str:
        downloads = re.findall(r"Downloading (\S+?)-\d\S* (\(.*\))", output)
        return (
            f"torch: {' '.join(downloads[-1])}"
            if downloads and "Installing collected" not in output
            else "torch: installing"
        )

    pip = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    ]
    run(
        [*pip, "--no-deps", "-r", str(without_torch)],
        "packages.log",
        progress,
        detail,
        clean_environment(),
    )
    run([*pip, "-c", str(LOCK), *torch], "torch.log", progress, torch_detail, clean_environment())


def patch_ros_exports() -> None:
    """Replace paths of the build machine in the wheels' CMake targets by those of this
    environment.
    """
    query = (
        "import json, numpy, sysconfig; print(json.dumps([sysconfig.get_path('include'),"
        " numpy.get_include()]))"
    )
    found = subprocess.run(
        [str(PYTHON), "-c", query], env=clean_environment(), check=True, stdout=subprocess.PIPE
    )
    include, numpy_include = json.loads(found.stdout)
    for path in VENV.glob("share/*/cmake/*.cmake"):
        text = path.read_text(encoding="utf-8")
        new = re.sub(
            r"/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/_?core/include",
            lambda _: numpy_include,
            text,
        )
        new = re.sub(r"/opt/python/cp\d+-cp\d+/include/python3\.\d+", lambda _: include, new)
        if new != text:
            path.write_text(new, encoding="utf-8")


def install_ros_environment() -> None:
    """Install tools/ros_environment.py; a .pth file makes Python import it at startup."""
    shutil.copy(ROOT / "tools" / "ros_environment.py", site_packages() / "ros_environment.py")
    (site_packages() / "pallas_ros_environment.pth").write_text("import ros_environment\n")


def build_messages(progress: Progress) -> None:
    """Build the message packages and the node executables into .venv, beside the files of the
    wheels.
    """
    patch_ros_exports()
    base = WORK / "messages"
    sources = [str(ROOT)] + (
        [] if (VENV / "share/tf2_msgs/package.xml").exists() else [str(UNDERLAY / "tf2_msgs")]
    )
    env = clean_environment()
    env.update(
        CMAKE_PREFIX_PATH=str(VENV),
        AMENT_PREFIX_PATH=str(VENV),
        COLCON_LOG_PATH=str(base / "log"),
        PYTHONWARNINGS="ignore",
    )
    command = [str(PYTHON), "-m", "colcon", "build", "--paths", *sources]
    command += ["--build-base", str(base / "build"), "--install-base", str(VENV)]
    command += [
        "--merge-install",
        "--event-handlers",
        "console_direct+",
        "--cmake-args",
        "-DPALLAS_WITHOUT_PYTHON=ON",
    ]
    command += [
        "-DBUILD_TESTING=OFF",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DPython3_EXECUTABLE={PYTHON}",
    ]
    percent = re.compile(r"\[ *(\d+)%\]")
    run(
        command,
        "messages.log",
        progress,
        lambda output: f"compiling {(percent.findall(output) or ['0'])[-1]} %",
        env,
    )


def install_project(progress: Progress) -> None:
    """Install the repository in editable mode.

    A new entry point in setup.cfg requires this step; changed Python code does not.
    """
    for folder in DATA:
        # lookups by ROS (FindPackageShare) find the data of the checkout
        link = VENV / "share" / "pallas" / folder
        if not link.is_symlink():
            link.symlink_to(ROOT / folder)
    pip = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        str(ROOT),
    ]
    run(pip, "project.log", progress, lambda _: "pip", clean_environment())


@contextlib.contextmanager
def alone(progress: Progress) -> Iterator[None]:
    """Allow one setup at a time in a checkout."""
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK.parent / "COLCON_IGNORE").touch()
    with (WORK / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("waiting for another `make setup` in this folder")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def setup(progress: Progress) -> None:
    python = find_python()
    stamps = Stamps()
    venv_key = digest(str(VENV), python.executable, python.version)
    packages_key = digest(venv_key, LOCK)
    environment_key = digest(packages_key, ROOT / "tools/ros_environment.py")
    sources = [
        ROOT / "msg",
        ROOT / "srv",
        ROOT / "action",
        ROOT / "CMakeLists.txt",
        ROOT / "package.xml",
        UNDERLAY,
    ]
    nodes = re.findall(r"^ +(\w+) = \w+\.nodes\.", (ROOT / "setup.cfg").read_text(), re.M)
    messages_key = digest(packages_key, *sources, ROOT / "tools/executable.py.in", nodes)
    project_key = digest(
        packages_key,
        *DATA,
        *(ROOT / name for name in ("pyproject.toml", "setup.cfg", "setup.py")),
        ROOT / "pallas_ros" / "__init__.py",  # has the version
    )
    steps: list[tuple[str, str, str, Callable[[], None]]] = [
        ("venv", venv_key, f"environment .venv on {python}", lambda: make_venv(python, progress)),
        (
            "packages",
            packages_key,
            "packages of requirements/lock.txt",
            lambda: install_packages(progress),
        ),
        (
            "environment",
            environment_key,
            "ROS 2 environment of the interpreter",
            install_ros_environment,
        ),
        (
            "messages",
            messages_key,
            "messages and executables of the nodes, by colcon",
            lambda: build_messages(progress),
        ),
        ("project", project_key, "command `pallas`", lambda: install_project(progress)),
    ]
    todo = [step for step in steps if not stamps.fits(step[0], step[1])]
    if any(name in ("venv", "messages") for name, *_ in todo):
        check_machine(python)
    for name, key, title, action in todo:
        progress.step(title)
        if name == "venv":
            stamps.done.clear()
        action()
        stamps.set(name, key)
    state = "ready" if todo else "up to date"
    progress.step(f"{VENV.name} is {state}: .venv/bin/pallas --help")


def main() -> int:
    progress = Progress()
    try:
        with alone(progress):
            setup(progress)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; `make setup` resumes here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
