# ruff: noqa: INP001 - a script
"""Looks up what is installed in PyPI's list of known vulnerabilities; a finding fails, a list out of reach does not."""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """Run pip-audit and say in one line what it could find out, and each finding in another."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        sys.stdout.write("pip-audit: nothing was audited, no answer in 300 s\n")
        return 0
    except ValueError:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.stdout.write(f"pip-audit: nothing was audited: {why[:300]}\n")
        return 0
    audited = [package for package in packages if "skip_reason" not in package]
    findings = [(package, finding) for package in audited for finding in package["vulns"]]
    for package, finding in findings:
        fixed = ", ".join(finding["fix_versions"]) or "no version yet"
        sys.stdout.write(f"pip-audit: {package['name']} {package['version']}: {finding['id']}, fixed in {fixed}\n")
    why = "" if audited else ": the list of vulnerabilities is out of reach"
    sys.stdout.write(f"pip-audit: {len(findings)} findings in {len(audited)} of {len(packages)} packages{why}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
