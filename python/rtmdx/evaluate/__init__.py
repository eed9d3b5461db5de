"""Did it help: displacement differences, their power, calibrated controls, interrupted series, a plan log evaluated.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtmdx.space.lazy import lazy_names

if TYPE_CHECKING:
    from rtmdx.evaluate.assessment import Assessment, assess, write_assessment
    from rtmdx.evaluate.calibrated import CalibratedEffect, CalibratedEffects, calibrated_effects
    from rtmdx.evaluate.calibration import ControlWeights, control_weights
    from rtmdx.evaluate.displacement import WDD, CumulativeWDD, HarmWDD, wdd, wdd_cumulative, wdd_harm
    from rtmdx.evaluate.plan import evaluate_plan
    from rtmdx.evaluate.plan_log import PlanLog, PlanRecord
    from rtmdx.evaluate.plan_results import PlanEffect, PlanEvaluation
    from rtmdx.evaluate.power import WDDPower, wdd_power
    from rtmdx.evaluate.quotients import LocationQuotient, LocationQuotients, location_quotient, quotient_near
    from rtmdx.evaluate.series import interrupted_series
    from rtmdx.evaluate.series_results import InterruptedSeries
    from rtmdx.evaluate.spec import EvaluationSpec
    from rtmdx.evaluate.synthetic import SyntheticControl, synthetic_control

# no module here may be named as a public function: its import would hide the function
_HOMES = {
    "assessment": ("Assessment", "assess", "write_assessment"),
    "calibrated": ("CalibratedEffect", "CalibratedEffects", "calibrated_effects"),
    "calibration": ("ControlWeights", "control_weights"),
    "displacement": ("CumulativeWDD", "HarmWDD", "WDD", "wdd", "wdd_cumulative", "wdd_harm"),
    "plan": ("evaluate_plan",),
    "plan_log": ("PlanLog", "PlanRecord"),
    "plan_results": ("PlanEffect", "PlanEvaluation"),
    "power": ("WDDPower", "wdd_power"),
    "quotients": ("LocationQuotient", "LocationQuotients", "location_quotient", "quotient_near"),
    "series": ("interrupted_series",),
    "series_results": ("InterruptedSeries",),
    "spec": ("EvaluationSpec",),
    "synthetic": ("SyntheticControl", "synthetic_control"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "WDD",
    "Assessment",
    "CalibratedEffect",
    "CalibratedEffects",
    "ControlWeights",
    "CumulativeWDD",
    "EvaluationSpec",
    "HarmWDD",
    "InterruptedSeries",
    "LocationQuotient",
    "LocationQuotients",
    "PlanEffect",
    "PlanEvaluation",
    "PlanLog",
    "PlanRecord",
    "SyntheticControl",
    "WDDPower",
    "assess",
    "calibrated_effects",
    "control_weights",
    "evaluate_plan",
    "interrupted_series",
    "location_quotient",
    "quotient_near",
    "synthetic_control",
    "wdd",
    "wdd_cumulative",
    "wdd_harm",
    "wdd_power",
    "write_assessment",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
