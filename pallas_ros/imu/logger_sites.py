"""Which folder or file of a logger's CSV files belongs to which site."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import EXTRA_SITES, SITES
from pallas_ros.body.sites import worn_sites
from pallas_ros.imu.recording import ALL
from pallas_ros.imu.sites import SITE_NAMES


def csv_files(path: Path, depth: int) -> list[Path]:
    """Return the CSV files in the folder (``depth`` 0) or in the folders below it (1), sorted.

    Memory cards have names such as ``IMU.CSV``, and hidden files of the computers they were in.
    """
    found = path.glob(f"{'*/' * depth}*.[cC][sS][vV]")
    return sorted(file for file in found if not file.name.startswith("."))


def sensors_of(
    path: Path, worn: Mapping[str, str], extra_sites: Sequence[str]
) -> dict[str, list[Path]]:
    """Return site -> files of the sensor worn there.

    Args:
        path: the folder.
        worn: site -> name of the sensor's folder or file. Optional sites in it are included.
        extra_sites: further optional sites; ``["all"]``: those that names in the folder contain.

    Raises:
        PallasError: a site is unknown, or has no sensor or several.
    """
    there: dict[str, list[Path]] = {}
    for file in csv_files(path, 1):
        there.setdefault(file.parent.name, []).append(file)
    for file in csv_files(path, 0):
        there[file.stem] = [file]
    sites = _sites(list(there), worn, extra_sites)
    found: dict[str, list[Path]] = {}
    for site in sites:
        names = _names(site, list(there), worn)
        if site == "neck" and "head" in sites and "neck" not in worn:
            names = [name for name in names if name not in _names("head", list(there), worn)]
        if len(names) != 1:
            raise PallasError(
                f"{path}: {'no sensor' if not names else f'{len(names)} sensors'} for {site} among"
                f" {', '.join(sorted(there))}: assign them to sites with --topics"
                f" {' '.join(f'{s}=NAME' for s in sites)}"
            )
        found[site] = there[names[0]]
    return found


def _sites(
    there: Sequence[str], worn: Mapping[str, str], extra_sites: Sequence[str]
) -> tuple[str, ...]:
    """Return the sites to read."""
    given = [site for site in EXTRA_SITES if site in worn]
    if list(extra_sites) != [ALL]:
        return worn_sites(tuple(dict.fromkeys((*SITES, *extra_sites, *given))))
    named = [site for site in EXTRA_SITES if site not in worn and _names(site, there, worn)]
    if "neck" not in worn and len(_names("neck", there, worn)) == 1:
        named = [site for site in named if site != "head"]  # it stands for the neck
    return worn_sites((*SITES, *named, *given))


def _names(site: str, there: Sequence[str], worn: Mapping[str, str]) -> list[str]:
    """Return the names in a folder that may be the sensor of a site."""
    if site in worn:
        return [name for name in there if name == worn[site] or name == Path(worn[site]).stem]
    taken = {name for other in worn for name in _names(other, there, worn)}
    return [
        name
        for name in there
        if name not in taken and any(alias in _plain(name) for alias in SITE_NAMES[site])
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())
