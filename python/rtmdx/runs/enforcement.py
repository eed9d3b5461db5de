"""Names of outcomes that enforcement itself makes: what police do, and what is recorded because they were there."""

from __future__ import annotations

import re

__all__ = ["made_by_enforcement"]

_WORDS = re.compile(
    r"\b(drugs?|narcotics?|dui|dwi|prostitution|stops?|stopped|frisks?|arrests?|citations?|summons(?:es)?|"
    r"search(?:es)?|seizures?|warrants?|tickets?|traffic violations?|field interviews?|uses? of force|"
    r"(?:use|police|deadly|lethal|physical|excessive) force|"
    r"force (?:reports?|incidents?|events?|uses?|used)|uof|officer involved|"
    r"weapons? (?:possession|violations?|offen[cs]es?|laws?|charges?)|"
    r"(?:possession|carrying|unlawful use) of (?:an? )?(?:concealed |illegal |loaded )*(?:weapons?|firearms?|guns?)|"
    r"possession|cannabis|marijuana|cocaine|heroin|solicit(?:ing|ation)|loitering|vagrancy|"
    r"gambling|public intoxication|curfew|drunk driving|gun seizures?)\b|^force$"
)


def made_by_enforcement(*names: str | None) -> str | None:
    """Return the word in the names of an outcome (its layer, its filter) that speaks of enforcement; None if none."""
    text = re.sub(r"[\W_]+", " ", " ".join(filter(None, names)).lower()).strip()
    found = _WORDS.search(text)
    return found[0] if found else None
