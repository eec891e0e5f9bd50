"""Many runs as one table: what differs, mean and spread over seeds, paired differences, figures and a page.

from evaluation.compare import compare

comparison = compare(["runs/mixture-vae-digits", "runs/exact"])
print(comparison.text())
comparison.write("comparison")
"""

from evaluation.compare.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
