"""Check of the installed OpenCV: several distributions share one folder and may damage it."""

from __future__ import annotations

from importlib import import_module, metadata


def distributions() -> list[str]:
    """Installed distributions that bring OpenCV, as ``name version``; read without importing it."""
    found = {
        f"{name} {distribution.version}"
        for distribution in metadata.distributions()
        if (name := distribution.metadata["Name"] or "").lower().startswith("opencv")
    }
    return sorted(found)


def repair() -> str:
    """Advice for a damaged or doubled installation."""
    names = [entry.split()[0] for entry in distributions()]
    wanted = "opencv-contrib-python" if "opencv-contrib-python" in names else "opencv-python"
    removal = f"pip uninstall {' '.join(names)}, then " if names else ""
    return f"{removal}pip install --force-reinstall {wanted}"


def check() -> None:
    """Raise ImportError, with the repair, if OpenCV is missing or lost some of its files."""
    try:
        usable = hasattr(import_module("cv2"), "imread")
        reason = "its folder lost files, as when one of two distributions is removed"
    except ImportError as error:
        usable, reason = False, str(error)
    if not usable:
        found = ", ".join(distributions()) or "none"
        raise ImportError(
            f"OpenCV cannot be imported: {reason}. Installed: {found}. Repair: {repair()}."
        )


check()
