"""An invented city with planted risks: the default input of ``rtmdx demo``."""

from rtmdx.demo.city import City, make_city
from rtmdx.demo.events import PlantedRisk
from rtmdx.demo.recovery import recovery

__all__ = ["City", "PlantedRisk", "make_city", "recovery"]
