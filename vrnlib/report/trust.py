"""What a report says about its own reliability: remarks on a face, where its doubt stands, its sources.

The reference (``results/report/NETWORK.json``) is measured by `vrnlib.report.calibrate`. A network without
one gets numbers without comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vrnlib import detect as detection
from vrnlib import provenance
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis
from vrnlib.predict import Network
from vrnlib.report.measures import Measures

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face

FOLDER = "results/report"
TURNED = 45.0
"""Degrees of yaw beyond which half of the face is hidden."""
ENLARGED = 1.5
"""Network pixels a photograph's pixel beyond which the network sees a blurred face."""
DOUBTFUL = 0.9
"""Share of the reference faces that must be less doubtful for a remark."""
COVERED = 0.98
"""Share of the window below which the photograph counts as cut off."""


def reference(network: Network) -> dict[str, Any] | None:
    """What `vrnlib.report.calibrate` measured for exactly this network, or None."""
    if network.path is None:
        return None
    path = provenance.project_folder() / FOLDER / f"{network.path.stem}.json"
    try:
        found = provenance.read_json(path)
        return found if found["network_sha256"] == provenance.sha256(network.path) else None
    except (VrnError, KeyError, TypeError):
        return None


def share_below(doubt: float, known: dict[str, Any]) -> float:
    """Share of the reference faces with less doubt, 0..1."""
    quantiles = np.asarray(known["doubt"]["quantiles"])  # 0, 1, ... 100 %
    return float(np.searchsorted(quantiles, doubt) / len(quantiles))


def rank(doubt: float, known: dict[str, Any] | None) -> str:
    """Where a doubt stands, in words; empty without a reference."""
    if known is None:
        return ""
    share = share_below(doubt, known)
    return f"more than {100 * share:.0f} % of {known['faces']} drawn test faces"


def minds(m: Measures, face: Face, known: dict[str, Any] | None) -> tuple[str, ...]:
    """What to keep in mind about a face, in sentences."""
    out = []
    if abs(m.pose.yaw) > TURNED:
        out.append(f"Turned {abs(m.pose.yaw):.0f}° away: the hidden half is the network's guess.")
    if m.enlarged > ENLARGED:
        out.append(
            f"Small in the photograph: the outer eye corners are {m.interocular:.0f} pixels apart, so the "
            f"network saw an enlarged, blurred face ({m.enlarged:.1f} times)."
        )
    if m.inside < COVERED:
        out.append(
            f"The photograph ends too near: {100 * (1 - m.inside):.0f} % of the network's window is empty, "
            f"and "
            "the shape there is not to be trusted."
        )
    if m.removed_bodies:
        bodies = "One stray body was" if m.removed_bodies == 1 else f"{m.removed_bodies} stray bodies were"
        out.append(f"{bodies} removed from the volume.")
    if known is not None and share_below(m.doubt, known) > DOUBTFUL:
        out.append("The network was unusually undecided here: is this a face?")
    return tuple(out)


def reading(network: Network, known: dict[str, Any] | None) -> list[str]:
    """Paragraphs (HTML) on what the page's pictures and numbers are worth, from measured results alone."""
    eyes = load_basis().mean[load_basis().landmarks[[36, 45]]]
    wide = float(np.linalg.norm(eyes[0] - eyes[1]))  # mm
    out = [
        "The network has learned from drawn faces only, never from a photograph. It gives the shape of the "
        "head's front; hair, ears, glasses and neck are not modelled, and fine detail such as lips and "
        "eyelids "
        "is soft. The colours are the photograph's own, so in colour everything looks better than it is: "
        "judge "
        "the grey views, and among them the side."
    ]
    error = _error(network)
    if error:
        out.append(
            f"On {error['faces']} drawn faces that it was not trained on, the surface is off by "
            f"{100 * error['mean']:.1f} % of the distance between the outer eye corners on average. That is "
            f"{error['mean'] * wide:.0f} mm where they are {wide:.0f} mm apart. On photographs the error "
            f"is not "
            "known: nobody has measured these heads."
        )
    meaning = (
        "what the peaks of the network's own 68 heat-maps lack of their full height, on average: 0 if it is "
        "sure of every landmark."
        if network.finds_landmarks
        else "the entropy of the volume: for each voxel that is filled, so many others are like the toss of "
        "a coin."
    )
    worth = (
        f"On {known['faces']} drawn faces its rank correlation with the true error is "
        f"{known['doubt']['spearman']:.2f} (95 % interval {known['doubt']['interval'][0]:.2f} to "
        f"{known['doubt']['interval'][1]:.2f}; 1 would mean that it orders them by their error, 0 that it "
        "says nothing)."
        if known
        else "For this network nobody has measured how far it tells a good reconstruction from a bad one."
    )
    out.append(f"<b>Doubt</b> is {meaning} {worth}")
    pose = known and known.get("pose")
    out.append(
        "<b>Turned, looks, tilted</b> come from an average face laid onto the landmarks and the depth under "
        "them"
        + (
            f"; measured on {pose['faces']} drawn faces with the landmarks of {pose['detector']}, they are "
            f"off "
            f"by {pose['yaw']:.0f}°, {pose['pitch']:.0f}° and {pose['roll']:.0f}° on average."
            if pose
            else "."
        )
    )
    return out


def settings(
    network: Network,
    finder: detection.Detector,
    policy: str | int,
    level: float,
    bodies: str,
    photographs: int,
    seconds: float,
) -> dict[str, str]:
    """The page's table: what was used, and where it came from."""
    architecture = network.model.architecture if hasattr(network.model, "architecture") else None
    out: dict[str, str] = {}
    if network.path is not None:
        out["Network"] = f"{network.path.name}, SHA-256 {provenance.sha256(network.path)[:16]}"
    if architecture is not None:
        out["Architecture"] = (
            f"{architecture.kind}, window of {network.size} pixels, volume of {network.size} x "
            f"{network.size} "
            f"x {architecture.depth} voxels"
        )
    if "faces" in network.meta:
        out["Trained on"] = f"{int(network.meta['faces']):,} drawn faces, no photograph"
    out["Detector"] = finder.name
    licence = getattr(detection, "LICENCES", {}).get(finder.name)
    if licence:
        out["Its terms"] = licence
    out["Faces taken"] = str(policy)
    out["Isovalue"] = f"{level:g}"
    stay = {"all": "all bodies are kept", "largest": "the largest body is kept"}
    kept = stay.get(bodies, f"what is kept: {bodies}")
    out["Stray bodies"] = kept if bodies == "all" else f"removed by dynamic labelling, {kept}"
    out["Time"] = f"{seconds:.1f} s for {photographs} photograph(s), {seconds / photographs:.2f} s each"
    state, machine = provenance.git_state(), provenance.machine()
    if state["rev"]:
        out["Code"] = f"commit {state['rev'][:12]}" + (", with changes" if state["dirty"] else "")
    out["Machine"] = f"{machine['processor']}, {machine['cores']} core(s), {machine['system']}"
    out["Versions"] = ", ".join(f"{k} {v}" for k, v in provenance.versions().items())
    out["Method"] = (
        "A. S. Jackson, A. Bulat, V. Argyriou, G. Tzimiropoulos: Large Pose 3D Face Reconstruction from a "
        "Single Image via Direct Volumetric CNN Regression, ICCV 2017; re-implemented"
    )
    return out


def _error(network: Network) -> dict[str, Any] | None:
    """The evaluated NME of exactly this network, if its evaluation lies in results/."""
    if network.path is None:
        return None
    try:
        found = provenance.read_json(
            provenance.project_folder() / "results" / "evaluation" / network.path.stem / "metrics.json"
        )
        if found["training"] != network.meta:  # of a former network of that name
            return None
        return {"faces": int(found["nme"]["faces"]), "mean": float(found["nme"]["mean"])}
    except (VrnError, KeyError, TypeError, ValueError):
        return None
