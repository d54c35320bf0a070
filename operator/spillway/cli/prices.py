"""`spillway plan --prices DIR`: price lists that replace or add to what the manifests say.

DIR holds either or both of

* gpu_instance_prices.csv: cloud, region, instance, on_demand_usd_h, spot_usd_h, source, and optionally as_of;
* hosted_token_prices.csv: provider, model, input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, context_window, deprecated,
  and optionally as_of.

A date is taken from as_of, else from the words of source. A machine's price without a date is not used.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pydantic import ValidationError

from spillway.api.base import first_error
from spillway.api.catalogue import AcceleratorClassSpec, AcceleratorPrice, PricePer, PriceSource, ProviderModel
from spillway.cli.bad_input import BadInputError
from spillway.plan.comparing.offers import Offer

MACHINES = "gpu_instance_prices.csv"
TOKENS = "hosted_token_prices.csv"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

# Machine type → words of the product in it, and how many. From the clouds' own pages of machine types.
_MACHINE_TYPES = (
    (r"g5\.(2|4|8|16)?xlarge", "A10G", 1),
    (r"g5\.(12|24)xlarge", "A10G", 4),
    (r"g5\.48xlarge", "A10G", 8),
    (r"(g6|gr6)\.(2|4|8|16)?xlarge", "L4", 1),
    (r"g6\.(12|24)xlarge", "L4", 4),
    (r"g6\.48xlarge", "L4", 8),
    (r"g6e\.(2|4|8|16)?xlarge", "L40S", 1),
    (r"g6e\.(12|24)xlarge", "L40S", 4),
    (r"g6e\.48xlarge", "L40S", 8),
    (r"g7e\.(2|4|8)xlarge", "RTX PRO 6000", 1),
    (r"g7e\.24xlarge", "RTX PRO 6000", 4),
    (r"g7e\.48xlarge", "RTX PRO 6000", 8),
    (r"p4d\.24xlarge", "A100 SXM 40GB", 8),
    (r"p4de\.24xlarge", "A100 SXM 80GB", 8),
    (r"p5\.4xlarge", "H100 SXM", 1),
    (r"p5\.48xlarge", "H100 SXM", 8),
    (r"p5en\.48xlarge", "H200", 8),
    (r"p6-b200\.48xlarge", "B200", 8),
    (r"g2-standard-(4|8|12|16|32)", "L4", 1),
    (r"g2-standard-48", "L4", 4),
    (r"g2-standard-96", "L4", 8),
    (r"g4-standard-48", "RTX PRO 6000", 1),
    (r"g4-standard-192", "RTX PRO 6000", 4),
    (r"g4-standard-384", "RTX PRO 6000", 8),
    (r"a2-highgpu-8g", "A100 SXM 40GB", 8),
    (r"a2-ultragpu-8g", "A100 SXM 80GB", 8),
    (r"a3-highgpu-8g", "H100 SXM", 8),
    (r"Standard_NC80adis_H100_v5", "H100 NVL", 2),
    (r"Standard_ND96asr_A100_v4", "A100 SXM 40GB", 8),
    (r"Standard_ND96am(sr|s)_A100_v4", "A100 SXM 80GB", 8),
    (r"Standard_ND96is\w*_H100_v5", "H100 SXM", 8),
    (r"gpu-h100-sxm_8gpu", "H100 SXM", 8),
    (r"gpu-h200-sxm_8gpu", "H200", 8),
    (r"gpu-b200-sxm_8gpu", "B200", 8),
    (r"gpu-l40s-\w+_1gpu.*", "L40S", 1),
    (r"gpu-l40s-\w+_4gpu.*", "L40S", 4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLists:
    """What was read, and what of it could not be used."""

    machines: tuple[tuple[str, int, AcceleratorPrice], ...] = ()  # words of the product, how many, price of the machine
    offers: tuple[Offer, ...] = ()
    remarks: tuple[str, ...] = ()

    def priced(self, classes: Mapping[str, AcceleratorClassSpec]) -> dict[str, AcceleratorClassSpec]:
        """Return the classes with the cheapest price on the list for the same product, as many to a node."""
        return {name: self._priced(spec) for name, spec in classes.items()}

    def _priced(self, spec: AcceleratorClassSpec) -> AcceleratorClassSpec:
        words = set(spec.product.split())
        alike = [price for product, count, price in self.machines if count == spec.per_node and set(product.split()) <= words]
        if not alike:
            return spec
        return spec.model_copy(update={"price": min(alike, key=lambda price: (price.on_demand_usd_per_hour, price.source))})


def read_prices(folder: str) -> PriceLists:
    """Read the price lists in a folder."""
    machines, tokens = Path(folder, MACHINES), Path(folder, TOKENS)
    try:
        has_machines, has_tokens = machines.is_file(), tokens.is_file()
    except OSError as problem:
        raise BadInputError(f"--prices: cannot be read: {problem.strerror or problem}; give a folder with {MACHINES} or {TOKENS}") from None
    if not has_machines and not has_tokens:
        raise BadInputError(f"{folder}: has neither {MACHINES} nor {TOKENS}; give the folder that holds one of them with --prices")
    found, undated = _machines(machines) if has_machines else ((), 0)
    offers = _offers(tokens) if has_tokens else ()
    remarks = [f"{undated} machine prices in {MACHINES} have no date and are not used."] if undated else []
    return PriceLists(machines=found, offers=offers, remarks=tuple(remarks))


def _machines(file: Path) -> tuple[tuple[tuple[str, int, AcceleratorPrice], ...], int]:
    found: list[tuple[str, int, AcceleratorPrice]] = []
    undated = 0
    for line, row in _rows(file, ("cloud", "region", "instance", "on_demand_usd_h")):
        machine = next(((words, count) for form, words, count in _MACHINE_TYPES if re.fullmatch(form, row["instance"])), None)
        if machine is None or not row["on_demand_usd_h"]:
            continue
        as_of = _date(row.get("as_of") or row.get("source", ""))
        if as_of is None:
            undated += 1
            continue
        spot = row.get("spot_usd_h") or ""
        usd = _number(file, line, "on_demand_usd_h", row["on_demand_usd_h"])
        dearest_spot = max((_number(file, line, "spot_usd_h", each) for each in spot.split("-") if each), default=None)
        price = AcceleratorPrice(
            on_demand_usd_per_hour=usd,
            spot_usd_per_hour=dearest_spot,
            per=PricePer.NODE,
            as_of=as_of,
            source=f"{row['cloud']} {row['instance']}, {row['region']}",
        )
        found.append((*machine, price))
    return tuple(found), undated


def _offers(file: Path) -> tuple[Offer, ...]:
    found: list[Offer] = []
    for line, row in _rows(file, ("provider", "model", "input_usd_per_mtok", "output_usd_per_mtok")):
        if row.get("deprecated", "").lower() == "true" or not row["input_usd_per_mtok"] or not row["output_usd_per_mtok"]:
            continue
        cached, context = row.get("cache_read_usd_per_mtok"), row.get("context_window")
        try:
            listing = ProviderModel.model_validate(
                {
                    "name": row["model"],
                    "inputUSDPerMillionTokens": row["input_usd_per_mtok"],
                    "outputUSDPerMillionTokens": row["output_usd_per_mtok"],
                    "cachedInputUSDPerMillionTokens": cached or None,
                    "contextTokens": context or None,
                }
            )
        except ValidationError as problem:
            raise BadInputError(f"{file}, line {line}: {first_error(problem)}; correct the row") from None
        as_of = _date(row.get("as_of") or "")
        prices = PriceSource(as_of=as_of, source=file.name) if as_of else None
        found.append(Offer(provider_name=row["provider"], listing=listing, prices=prices))
    return tuple(found)


def _rows(file: Path, needed: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInputError(f"{file}: has no column {', '.join(missing)}; it needs {', '.join(needed)} (docs/economics.md, Prices)")
            return [(reader.line_num, {key: (row[key] or "").strip() for key in row if key}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise BadInputError(f"{file}: cannot be read: {problem}; give a CSV file in UTF-8") from None


def _number(file: Path, line: int, column: str, text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or usd < 0:
        raise BadInputError(f"{file}, line {line}: {column} is {text!r}; write a price in USD such as 1.861")
    return usd


def _date(text: str) -> date | None:
    dates = []
    for each in _DATE.findall(text):
        try:
            dates.append(date.fromisoformat(each))
        except ValueError:
            continue
    return max(dates, default=None)
