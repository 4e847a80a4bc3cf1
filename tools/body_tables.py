"""Update the tables of docs/evidence/body.md from evaluations: `pallas eval pallas --json F`, then
`python tools/body_tables.py F...`.

The text between `<!-- table: NAME -->` and `<!-- end -->` is replaced. Figures of later files
replace those of earlier ones.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "evidence" / "body.md"
METHODS = {
    "pallas": "PALLAS",
    "pallas_bandai": "PALLAS 0.1, with Bandai-Namco",
    "tpose_measured": "T-pose + measured",
    "mean_pose": "mean pose",
}
CASES = {
    "unseen_subjects": "unseen subjects, 4 sensors",
    "sites=6": "unseen subjects, 6 (shins)",
    "sites=8": "unseen subjects, 8 (and upper arms)",
    "sites=11": "unseen subjects, 11",
    "no_acceleration": "unseen subjects, 4, no accelerations",
    "unseen": "unseen contents",
    "seen": "seen",
    "other_studio": "another studio (Bandai-Namco)",
}
GOALS = (
    ("unseen_subjects", "mpjpe_upper_cm", "upper body, unseen subjects, 4 sensors", 5.0, "cm"),
    ("unseen_subjects", "mpjpe_legs_cm", "legs", 11.0, "cm"),
    ("sites=6", "mpjpe_upper_cm", "upper body, unseen subjects, 6 sensors", 4.5, "cm"),
    ("sites=6", "mpjpe_legs_cm", "legs", 5.0, "cm"),
    ("sites=8", "mpjpe_upper_cm", "upper body, unseen subjects, 8 sensors", 3.0, "cm"),
    ("sites=8", "mpjpe_legs_cm", "legs", 5.0, "cm"),
    ("unseen", "mpjpe_upper_cm", "upper body, unseen contents", 5.0, "cm"),
    ("unseen", "mpjpe_legs_cm", "legs", 9.0, "cm"),
    ("seen", "mpjpe_upper_cm", "upper body, seen", 3.0, "cm"),
    ("seen", "mpjpe_legs_cm", "legs", 3.5, "cm"),
    ("real", "shin_deg", "real recording, shins from 4 sensors", 14.0, "°"),
    ("real", "forearm_deg", "forearms", 3.0, "°"),
    ("unseen_subjects", "foot_slide_cm_s", "foot slide, unseen subjects", 8.0, "cm/s"),
    ("unseen_subjects", "root_drift_m_per_10m", "root drift per 10 m", 1.5, "m"),
)
COVERAGE = (0.88, 0.93)
ACCURACY = {
    "mpjpe_upper_cm": "upper, cm",
    "mpjpe_legs_cm": "legs, cm",
    "mpjpe_cm": "all, cm",
    "angle_deg": "angle, °",
    "jerk_ratio": "jerk ratio",
    "foot_slide_cm_s": "foot slide, cm/s",
    "root_drift_m_per_10m": "root drift per 10 m",
    "coverage90_upper": "inside 90 %, upper",
    "coverage90_legs": "legs",
}
LIMITS = {
    "mpjpe_upper_cm": "upper",
    "mpjpe_upper_true_arms_cm": "with the true upper arms",
    "mpjpe_upper_true_trunk_cm": "with the true trunk",
    "mpjpe_legs_cm": "legs",
    "mpjpe_legs_true_thighs_cm": "with the true thighs",
}
SUBJECTS = {
    "40": "a stepstool in the way",
    "41": "a stepstool in the way",
    "63": "golf",
    "64": "golf",
    "81": "pushing, jumping off",
    "82": "jumping, pushing, walks",
    "86": "sports and various",
    "113": "after pregnancy",
    "114": "pregnant",
    "125": "swimming",
    "126": "swimming",
    "135": "martial arts",
}
REAL = {
    "shin_deg": "shins, °",
    "shin_turned_deg": "shins without constant offset, °",
    "forearm_deg": "forearms, °",
}
REAL_CASES = {
    "real": "real recording",
    "real,no_acceleration": "without accelerations",
}
SAME_MOTION = ("sites=6", "sites=8", "sites=11", "no_acceleration")
"""Cases on the motion of `unseen_subjects`, for which the baselines are not repeated."""
BASELINES = ("tpose_measured", "mean_pose")
Figures = dict[tuple[str, str, str], dict[str, Any]]


def cell(row: dict[str, Any] | None) -> str:
    """Return a figure with its interval."""
    if row is None:
        return "–"
    text = f"{row['value']:.2f}"
    return text + (f" [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else "")


def table(
    figures: Figures, methods: dict[str, str], cases: dict[str, str], columns: dict[str, str]
) -> str:
    """Return a table with one row per measured case and method, and one column per metric."""
    lines = [
        "| | | " + " | ".join(columns.values()) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for case, shown in cases.items():
        for name, method in methods.items():
            found = [figures.get((name, case, metric)) for metric in columns]
            if any(found):
                lines.append(f"| {shown} | {method} | " + " | ".join(map(cell, found)) + " |")
    return "\n".join(lines)


def goals(figures: Figures) -> str:
    """Return a table of the goals: measured values, and whether they are met."""
    lines = ["| | goal | measured | |", "|---|---|---|---|"]
    for case, metric, shown, goal, unit in GOALS:
        row = figures.get(("pallas", case, metric))
        if row is not None:
            met = "met" if row["value"] <= goal else "missed"
            lines.append(f"| {shown} | ≤ {goal:g} {unit} | {cell(row)} {unit} | {met} |")
    for part in ("upper", "legs"):
        row = figures.get(("pallas", "unseen_subjects", f"coverage90_{part}"))
        if row is not None:
            met = "met" if COVERAGE[0] <= row["value"] <= COVERAGE[1] else "missed"
            lines.append(
                f"| inside the 90 % ellipsoids, {part}, unseen subjects | 0.88 to 0.93 "
                f"| {cell(row)} | {met} |"
            )
    return "\n".join(lines)


def subjects(figures: Figures) -> str:
    """Return a table of the errors of each unseen person."""
    lines = ["| subject | | upper, cm | legs, cm |", "|---|---|---|---|"]
    groups = {f"subject={subject}": (subject, acts) for subject, acts in SUBJECTS.items()}
    groups["without_swimming"] = ("all but 125 and 126", "")
    for group, (who, acts) in groups.items():
        case = f"unseen_subjects,{group}"
        found = [figures.get(("pallas", case, m)) for m in ("mpjpe_upper_cm", "mpjpe_legs_cm")]
        if any(found):
            lines.append(f"| {who} | {acts} | " + " | ".join(map(cell, found)) + " |")
    return "\n".join(lines)


def segments(figures: Figures) -> str:
    """Return a table of the mean angle by segment, one column per case."""
    prefix = "angle_"
    suffix = "_deg"
    metrics = [m for n, c, m in figures if (n, c) == ("pallas", "unseen_subjects")]
    joints = [m for m in metrics if m.startswith(prefix) and m != "angle_deg"]
    cases = [c for c in CASES if ("pallas", c, "angle_deg") in figures]
    lines = [
        "| angle, ° | " + " | ".join(CASES[c] for c in cases) + " |",
        "|---|" + "---|" * len(cases),
    ]
    for metric in joints:
        name = metric.removeprefix(prefix).removesuffix(suffix).replace("_", " ")
        values = (f"{figures['pallas', c, metric]['value']:.1f}" for c in cases)
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def main(files: list[str]) -> int:
    """Update the page."""
    figures: Figures = {}
    for file in files:
        for row in json.loads(Path(file).read_text())["rows"]:
            if not (row["name"] in BASELINES and row["case"] in SAME_MOTION):
                figures[row["name"], row["case"], row["metric"]] = row
    tables = {
        "goals": goals(figures),
        "accuracy": table(figures, METHODS, CASES, ACCURACY),
        "limits": table(figures, {"pallas": "PALLAS"}, CASES, LIMITS),
        "real": table(figures, METHODS, REAL_CASES, REAL),
        "segments": segments(figures),
        "subjects": subjects(figures),
    }
    page = PAGE.read_text()
    for name, text in tables.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = pattern.sub(lambda m, text=text: f"{m[1]}{text}\n{m[2]}", page)
    PAGE.write_text(page)
    print(f"{PAGE}: {len(figures)} figures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
