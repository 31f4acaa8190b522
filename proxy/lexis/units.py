"""Units of measure and money, each with its dimension and one name. Plain tables."""

from __future__ import annotations

from typing import Final

from proxy.lexis.tables import words

_BY_DIMENSION: Final = {
    "length": """
        mm millimeter millimeters millimetre millimetres; cm centimeter centimeters centimetre centimetres;
        m meter meters metre metres; km kms kilometer kilometers kilometre kilometres; mi mile miles; inch inches;
        ft foot feet; yd yard yards
    """,
    "mass": """
        mg milligram milligrams; g gram grams gm gms; kg kgs kilo kilos kilogram kilograms; lb lbs; oz ounce ounces;
        ton tons tonne tonnes; stone stones
    """,
    "volume": """
        ml milliliter milliliters millilitre millilitres; l liter liters litre litres; gal gallon gallons; pint pints;
        quart quarts; cup cups; tbsp tablespoon tablespoons; tsp teaspoon teaspoons
    """,
    "temperature": "celsius centigrade degc c; fahrenheit degf f; kelvin",
    "speed": "mph; kph kmh kmph; knots",
    "data": """
        kb kilobyte kilobytes; mb megabyte megabytes; gb gigabyte gigabytes; tb terabyte terabytes; kbps;
        mbps; gbps
    """,
    "power": "kw kilowatt kilowatts; mw megawatt megawatts; w watt watts; hp horsepower; kwh; mah; v volt volts",
    "money": """
        usd $ dollar dollars buck bucks; eur € euro euros; gbp £ sterling quid; jpy ¥ yen; inr ₹ rupee rupees;
        cny rmb yuan;
        chf franc francs; aud; cad; btc bitcoin bitcoins; eth ether ethereum; krw ₩ won; rub ₽ ruble rubles; pln zloty;
        cent cents; pence
    """,
    "share": "% percent percents pct percentage; bps",
    "time": """
        ms millisecond milliseconds; sec secs seconds; min mins minute minutes; hr hrs hour hours; day days;
        week weeks wk wks;
        month months; year years yr yrs; decade decades; century centuries
    """,
}  # fmt: skip


def _by_name() -> dict[str, tuple[str, str]]:
    names: dict[str, tuple[str, str]] = {}
    for dimension, groups in _BY_DIMENSION.items():
        for group in groups.split(";"):
            spellings = group.split()
            names.update(dict.fromkeys(spellings, (dimension, spellings[0])))
    return names


UNITS: Final = _by_name()
"""Spelling to (dimension, unit)."""

ONLY_BEHIND_A_NUMBER: Final = words(
    """
    m c f g l w v ft mi min sec stone stones won cent cents cad foot feet yard yards stone mm mg eth ether ms hp mw
    kw mb kb gb tb pint cup cups day days week weeks month months year years hour hours minute minutes seconds
    decade decades century centuries hr hrs mins secs yr yrs wk wks percent percents pct percentage
    """
)
"""Too common, or too short, to be a unit anywhere else."""
