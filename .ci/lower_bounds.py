"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

    python .ci/lower_bounds.py > constraints.txt

Of what the package needs, and of every extra but docs. Needs `packaging`.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

path = Path(__file__).resolve().parents[1] / "pyproject.toml"
project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
texts = [text for name in extras.keys() - {"docs"} for text in extras[name]]
bounds = {}
for text in project["dependencies"] + texts:
    requirement = Requirement(text)
    (lowest,) = [s.version for s in requirement.specifier if s.operator == ">="]
    assert bounds.setdefault(requirement.name, lowest) == lowest, text
for name, lowest in sorted(bounds.items()):
    print(f"{name}=={lowest}")
