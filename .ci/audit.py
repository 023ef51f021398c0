"""Ask whether a weakness is known of any package that is pinned.

Who cannot be reached is not asked: that is said, and fails nothing.  What is known
fails, as does a list of packages that cannot be read.  Arguments are pip-audit's own.
"""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
#: How pip-audit ends when nobody answers, or with nothing that it understands.
UNASKED = ("Could not connect", "ConnectionError", "ServiceError", "requests.")


def main() -> int:
    """Return 1 for a weakness that is known, and for a list that cannot be read."""
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS)),
            *("--require-hashes", "--disable-pip", "--vulnerability-service", "osv"),
            *("--format", "json", "--progress-spinner", "off", *sys.argv[1:]),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if not asked.stdout.strip():
        last = (asked.stderr.strip().splitlines() or ["no reason was given"])[-1]
        if any(words in asked.stderr for words in UNASKED):
            print(f"The packages were not audited, nobody could be asked: {last[:200]}")
            return 0
        print(f"The packages could not be audited: {last[:200]}")
        return 1
    packages = json.loads(asked.stdout)["dependencies"]
    known = [(one, weak) for one in packages for weak in one.get("vulns", ())]
    for one, weak in known:
        fixed = ", ".join(weak["fix_versions"]) or "nowhere yet"
        print(f"{one['name']} {one['version']}: {weak['id']}, mended in {fixed}")
    print(f"{len(packages)} packages audited, {len(known)} weaknesses known")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
