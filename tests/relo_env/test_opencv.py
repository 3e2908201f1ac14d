"""OpenCV's several distributions."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from agents.commands import doctor
from relo_env import opencv


@pytest.fixture
def installed(monkeypatch):
    """Sets the installed distributions."""

    def install(**versions):
        entries = [
            SimpleNamespace(metadata={"Name": name.replace("_", "-")}, version=version)
            for name, version in versions.items()
        ]
        monkeypatch.setattr(opencv.metadata, "distributions", lambda: iter(entries))

    return install


def test_every_distribution_of_opencv_is_listed(installed):
    installed(numpy="2.4", opencv_python="5.0", opencv_contrib_python="4.13")
    assert opencv.distributions() == ["opencv-contrib-python 4.13", "opencv-python 5.0"]
    with pytest.raises(ImportError, match=r"opencv-contrib-python 4\.13, opencv-python 5\.0 share"):
        doctor._opencv()
    assert opencv.repair() == (
        "pip uninstall opencv-contrib-python opencv-python, then "
        "pip install --force-reinstall opencv-contrib-python"
    )


def test_a_folder_that_lost_files_is_explained(installed, monkeypatch):
    installed(opencv_python_headless="5.0")
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    with pytest.raises(ImportError, match=r"lost files.*opencv-python-headless 5\.0.*Repair: pip"):
        opencv.check()
    installed()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"Installed: none\. Repair: pip install"):
        opencv.check()
