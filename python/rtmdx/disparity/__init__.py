"""Who bears the burden: rates and ratios between groups, said with their counts, intervals and benchmarks.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtmdx.space.lazy import lazy_names

if TYPE_CHECKING:
    from rtmdx.disparity.adjustment import Adjusted, adjusted
    from rtmdx.disparity.arrays import Rates, Ratios, rate_ratio, rates
    from rtmdx.disparity.assessment import Assessment, assess
    from rtmdx.disparity.comparison import Comparison, compare
    from rtmdx.disparity.decompose import Decomposition, das_gupta, kitagawa
    from rtmdx.disparity.funnels import Funnel, funnel, funnel_limits
    from rtmdx.disparity.group_exposure import exposure
    from rtmdx.disparity.hit_rates import OutcomeTest, outcome_test
    from rtmdx.disparity.homogeneity import Heterogeneity, heterogeneity
    from rtmdx.disparity.indices import disparity_index, equity_score, share_ratio
    from rtmdx.disparity.intervals import rate_interval, ratio_interval, ratio_test
    from rtmdx.disparity.missing_groups import MissingGroup, missing_group
    from rtmdx.disparity.population import Population, allocate
    from rtmdx.disparity.pvalues import adjust_pvalues
    from rtmdx.disparity.results import Estimate, PersonRatio, PlaceRatio, Rate, Ratio, ResultTable
    from rtmdx.disparity.robustness import Sensitivity, sensitivity
    from rtmdx.disparity.smoothing import Smoothed, smooth, standardised_rates
    from rtmdx.disparity.standardise import direct_rate, indirect_ratio, mantel_haenszel
    from rtmdx.disparity.suppression import Suppressed, suppress

# no module here may be named as a public function: its import would hide the function
_HOMES = {
    "adjustment": ("Adjusted", "adjusted"),
    "arrays": ("Rates", "Ratios", "rate_ratio", "rates"),
    "assessment": ("Assessment", "assess"),
    "comparison": ("Comparison", "compare"),
    "decompose": ("Decomposition", "das_gupta", "kitagawa"),
    "funnels": ("Funnel", "funnel", "funnel_limits"),
    "group_exposure": ("exposure",),
    "hit_rates": ("OutcomeTest", "outcome_test"),
    "homogeneity": ("Heterogeneity", "heterogeneity"),
    "indices": ("disparity_index", "equity_score", "share_ratio"),
    "intervals": ("rate_interval", "ratio_interval", "ratio_test"),
    "missing_groups": ("MissingGroup", "missing_group"),
    "population": ("Population", "allocate"),
    "pvalues": ("adjust_pvalues",),
    "results": ("Estimate", "PersonRatio", "PlaceRatio", "Rate", "Ratio", "ResultTable"),
    "robustness": ("Sensitivity", "sensitivity"),
    "smoothing": ("Smoothed", "smooth", "standardised_rates"),
    "standardise": ("direct_rate", "indirect_ratio", "mantel_haenszel"),
    "suppression": ("Suppressed", "suppress"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Adjusted",
    "Assessment",
    "Comparison",
    "Decomposition",
    "Estimate",
    "Funnel",
    "Heterogeneity",
    "MissingGroup",
    "OutcomeTest",
    "PersonRatio",
    "PlaceRatio",
    "Population",
    "Rate",
    "Rates",
    "Ratio",
    "Ratios",
    "ResultTable",
    "Sensitivity",
    "Smoothed",
    "Suppressed",
    "adjust_pvalues",
    "adjusted",
    "allocate",
    "assess",
    "compare",
    "das_gupta",
    "direct_rate",
    "disparity_index",
    "equity_score",
    "exposure",
    "funnel",
    "funnel_limits",
    "heterogeneity",
    "indirect_ratio",
    "kitagawa",
    "mantel_haenszel",
    "missing_group",
    "outcome_test",
    "rate_interval",
    "rate_ratio",
    "rates",
    "ratio_interval",
    "ratio_test",
    "sensitivity",
    "share_ratio",
    "smooth",
    "standardised_rates",
    "suppress",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
