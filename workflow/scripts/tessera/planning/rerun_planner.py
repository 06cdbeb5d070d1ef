"""Products: what each rule makes, which of them are outdated, and what an outdated one has to wait for.

Stores are `ancient` inputs, so that a job that runs does not drag along what does not depend on its change. Snakemake
(9.27) then passes over a job that is itself to run, when a job somewhere before it runs too, whatever for. So every
outdated product also names plain inputs, `rerun_if`: the records of all products before it, and, where its own record
tells of another provenance, a file that is newer than anything. A product that is up to date names none.
"""

import json
import time
from functools import cache
from pathlib import Path

RECORDS = "results/provenance/"
NEWER_THAN_ALL = ".snakemake/tessera/now"


class Products:
    """Every product of the workflow, known by its rule and key (a batch, fold, model or movie; None: there is one).

    Args:
        provenance: provenance(rule, key) gives what the product is made from, anything that JSON can hold.
        upstream: upstream(rule, key) gives the products, (rule, key), that it is made from.
        outputs: outputs(rule, key) gives the paths of its files and folders; one lies in RECORDS, and holds the provenance
            that they were made by. Rules that may make the same product have the same record.
        wanted: rules whose products are asked for, whatever they are good for.
        gathering: rules whose product many are made from, and that is itself made from many.
    """

    def __init__(self, provenance, upstream, outputs, *, wanted, gathering):
        self._recipe = provenance
        self._upstream = upstream
        self._outputs = outputs
        self._wanted, self._gathering = wanted, gathering
        self.is_outdated = cache(self._find_whether_outdated)
        self._before = cache(self._find_before)
        self._has_another_recipe = cache(self._find_whether_changed)
        self._newer_than_all = cache(_write_time)

    def record(self, rule, key):
        """Path of the file that holds the provenance by which a product was made: the one of its outputs in RECORDS."""
        return next(path for path in self._outputs(rule, key) if path.startswith(RECORDS))

    def rerun_if(self, rule, key=None):
        """Paths that an outdated product has to wait for, beside what it reads; none for one that is up to date."""
        if not self.is_outdated(rule, key):
            return []
        records = sorted(self.record(*product) for product in self._before(rule, key) if not self._is_idle(*product))
        return [*records, self._newer_than_all()] if self._has_another_recipe(rule, key) else records

    def made_by(self, rule, key):
        """The provenance that a product was made by; None where none is known."""
        try:
            return json.loads(Path(self.record(rule, key)).read_text())
        except (OSError, ValueError):
            return None

    def _find_whether_outdated(self, rule, key):
        lacking = not all(Path(path).exists() for path in self._outputs(rule, key))
        return lacking or self._has_another_recipe(rule, key)

    def _find_whether_changed(self, rule, key):
        try:
            return json.loads(Path(self.record(rule, key)).read_text()) != self._recipe(rule, key)
        except FileNotFoundError:
            return False
        except (OSError, ValueError):  # cut off when a disk was full, say
            return True

    def _find_before(self, rule, key):
        found = set(self._upstream(rule, key))
        return found.union(*map(self._find_behind, found))

    def _find_behind(self, product):
        """The products before one that what is made from it has to name as well.

        Of one that gathers many these would be many times many, so only those that will run: none where it is itself
        made anew, since it waits for all of them.
        """
        before = self._before(*product)
        if product[0] not in self._gathering:
            return before
        return (
            set()
            if self._has_another_recipe(*product)
            else {each for each in before if self._has_another_recipe(*each)}
        )

    def _is_idle(self, rule, key):
        """Whether a product was removed that nobody asks for by itself: what needs it reads it, and so has it made."""
        removed = self.is_outdated(rule, key) and not self._has_another_recipe(rule, key)
        return removed and rule not in self._wanted


def _write_time():
    path = Path(NEWER_THAN_ALL)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(time.time_ns()))
    return str(path)
