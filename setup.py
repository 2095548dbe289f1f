"""What pyproject.toml cannot say: the library of scenarios lies beside the package and is installed inside it."""

from pathlib import Path
from shutil import copy2

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithLibrary(build_py):
    """Copies scenarios/ to where `replicator scenario list` and `copy` find it once it is installed."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the folder itself is found
        target = Path(self.build_lib, "replicator", "scenario", "library")
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path("scenarios").glob("*.toml")):
            copy2(file, target)


setup(cmdclass={"build_py": BuildWithLibrary})
