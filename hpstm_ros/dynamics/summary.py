"""Summary of the forces of a motion.

Peak loads, time above thresholds and posture scores, as text and as a page of plots.
"""

import base64
import html
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES
from hpstm_ros.dynamics.ergonomics import Scores, score
from hpstm_ros.dynamics.figures import HIGH_SHARE, MEDICAL, Summary, Watched, sentences
from hpstm_ros.dynamics.offline import Dynamics
from hpstm_ros.dynamics.pictures import picture
from hpstm_ros.dynamics.strength import STRENGTH, WATCHED, WATCHED_JOINTS
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.files.writing import save_text
from pallas_ros.view import svg

F64 = NDArray[np.float64]

_EVERY_S = 0.1
"""Interval between posture scores."""


def summarise(dynamics: Dynamics, motion: Motion, sex: str = "mean") -> Summary:
    """Summarise ``dynamics``, which was computed from ``motion``.

    Raises:
        PallasError: the motion and the dynamics have different numbers of frames.
    """
    if len(motion) != len(dynamics.t):
        raise PallasError(
            f"the motion has {len(motion)} frames but the dynamics {len(dynamics.t)}: resample the"
            " motion to the rate of the dynamics"
        )
    known = dynamics.valid
    step = float(dynamics.t[1] - dynamics.t[0]) if len(dynamics.t) > 1 else 0.0
    sizes = np.linalg.norm(dynamics.moment[:, WATCHED_JOINTS], axis=-1)[known]
    watched = []
    for column, name in enumerate(WATCHED):
        strength = STRENGTH[sex].of(name, dynamics.mass)
        peak = float(sizes[:, column].max()) if len(sizes) else float("nan")
        above = float((sizes[:, column] > HIGH_SHARE * strength).sum() * step)
        watched.append(Watched(name, peak, peak / strength, above))
    force = np.linalg.norm(dynamics.residual[known, :3], axis=-1)
    weight = dynamics.mass * GRAVITY
    return Summary(
        tuple(watched),
        _worst(dynamics, motion, step),
        float(1 - known.mean()),
        float((dynamics.flight & known).sum() * step),
        float(np.sqrt(np.mean(force**2)) / weight) if len(force) else float("nan"),
    )


def _seen(dynamics: Dynamics, motion: Motion) -> NDArray[np.bool_]:
    """Return (T,) whether a frame has forces and a body; in short gaps, forces are interpolated."""
    body = np.isfinite(motion.rotations).all(axis=(1, 2))
    return np.asarray(dynamics.valid & body & np.isfinite(motion.positions).all(axis=(1, 2)))


def _worst(dynamics: Dynamics, motion: Motion, step: float) -> Scores | None:
    every = max(round(_EVERY_S / step), 1) if step else 1
    seen = _seen(dynamics, motion)
    upward = dynamics.ground_reaction[..., 2]
    found = [
        score(motion.rotations[index], dynamics.loads, bool((upward[index] > 1.0).all()))
        for index in range(0, len(dynamics.t), every)
        if seen[index]
    ]
    if not found:
        return None
    return Scores(max(one.rula for one in found), max(one.reba for one in found))


def write_page(
    path: str | Path, dynamics: Dynamics, motion: Motion, summary: Summary, title: str
) -> None:
    """Write a page of plots, with pictures at the peaks; it needs no network and no script."""
    t = dynamics.t
    known = dynamics.valid
    weight = dynamics.mass * GRAVITY
    upward = np.where(known[:, None], dynamics.ground_reaction[..., 2] / weight, np.nan)
    sizes = np.linalg.norm(dynamics.moment[:, WATCHED_JOINTS], axis=-1)
    sizes[~known] = np.nan
    residual = np.linalg.norm(dynamics.residual[:, :3], axis=-1) / weight
    names = [name.replace("_", " ") for name in WATCHED]
    parts = [
        ("Ground reaction, upward", svg.lines(t, upward, list(SIDES), "of body weight")),
        ("Joint moments", svg.lines(t, sizes, names, "Nm")),
        (
            "Unexplained force at the pelvis",
            svg.lines(t, np.where(known, residual, np.nan), ["residual"], "of body weight"),
        ),
    ]
    lines = [*sentences(summary), *dynamics.remarks]
    body = "".join(f"<h2>{html.escape(name)}</h2>{plot}" for name, plot in parts)
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><ul>{items}</ul>"
        f"{_pictures(dynamics, motion)}{body}"
        f"<p>{html.escape(MEDICAL)}</p></html>"
    )
    save_text(Path(path), text)


def _pictures(dynamics: Dynamics, motion: Motion) -> str:
    """Return the instants of the highest lumbar, right knee and right shoulder moment."""
    seen = _seen(dynamics, motion)
    if not seen.any():
        return ""
    out = []
    for name in ("lumbar", "right_knee", "right_shoulder"):
        joint = WATCHED_JOINTS[list(WATCHED).index(name)]
        sizes = np.where(seen, np.linalg.norm(dynamics.moment[:, joint], axis=1), -1.0)
        stream = io.BytesIO()
        Image.fromarray(picture(motion, dynamics, int(np.argmax(sizes)))).save(stream, "PNG")
        data = base64.b64encode(stream.getvalue()).decode()
        label = f"highest moment: {name.replace('_', ' ')}"
        out.append(
            f'<figure><img alt="{label}" src="data:image/png;base64,{data}">'
            f"<figcaption>{label}</figcaption></figure>"
        )
    return "<div>" + "".join(out) + "</div>"


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "div{display:flex}figure{flex:1;margin:0}img{width:100%}"
    "svg{max-width:100%;font-size:11px}h2{font-size:1.1em}"
)
