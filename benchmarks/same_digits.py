"""Check whether two revisions compute the same: `process`, `smooth` and `retarget` side by side.

Both process the same IMU recording, in turn, with the weights of the older revision and the
packages of this environment. Arrays are compared byte by byte; for different ones the largest
difference is printed.

    python benchmarks/same_digits.py walk.npz --before v0.2.0 --robots panda g1
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def steps(recording: Path, out: Path, weights: Path, robots: list[str]) -> dict[str, list[str]]:
    """Return the commands by output file."""
    motion = str(out / "motion.npz")
    smooth = str(out / "smooth.npz")
    made = {
        motion: ["process", str(recording), motion, "--model", str(weights / "pallas.onnx")],
        smooth: ["smooth", motion, smooth, "--model", str(weights / "hpstm.onnx")],
    }
    for robot in robots:
        joints = str(out / f"{robot}.npz")
        made[joints] = ["retarget", smooth, joints, "--robot", robot]
    return made


def run(tree: Path, words: list[str]) -> float:
    """Run a command of the checkout ``tree``; return the processor time in s."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PALLAS_SHARE": str(tree)}
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "pallas_ros.cli", *words],
        cwd=tree,
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    return (
        after.children_user
        + after.children_system
        - (before.children_user + before.children_system)
    )


def difference(one: Path, other: Path) -> str:
    """Describe how the arrays of two files differ."""
    with np.load(one) as a, np.load(other) as b:
        words = []
        for name in sorted(set(a) | set(b)):
            if name not in a or name not in b:
                words.append(f"{name} in one only")
            elif a[name].tobytes() == b[name].tobytes():
                continue
            elif a[name].shape != b[name].shape:
                words.append(f"{name} {a[name].shape} and {b[name].shape}")
            elif a[name].dtype.kind == "f":
                words.append(f"{name} by {np.nanmax(np.abs(a[name] - b[name])):.2g}")
            else:
                words.append(name)
    return ", ".join(words) or "equal to the byte"


def main() -> int:
    """Compare; return 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path, help="IMU recording (.npz)")
    parser.add_argument("--before", required=True, metavar="REVISION", help="to compare with")
    parser.add_argument("--robots", nargs="+", default=["panda"])
    args = parser.parse_args()
    recording = args.recording.resolve()
    same = True
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(tree), args.before], check=True)
        try:
            outs = [Path(folder) / "before", Path(folder) / "now"]
            for out in outs:
                out.mkdir()
            pairs = zip(
                *(steps(recording, out, tree / "models", args.robots).items() for out in outs),
                strict=True,
            )
            print("| written by | arrays | processor time, now / before |")
            print("|---|---|---|")
            for (old_file, old), (new_file, new) in pairs:
                began = run(tree, old)
                ratio = run(ROOT, new) / began
                found = difference(Path(old_file), Path(new_file))
                same &= found.startswith("equal")
                name = f"{new[0]} {new[-1] if new[0] == 'retarget' else ''}".strip()
                print(f"| {name} | {found} | {ratio:.2f} |", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
