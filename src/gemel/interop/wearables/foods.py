"""Grams of food into grams of carbohydrate, for diaries that weigh the dish and not the carbohydrate.

Values are grams of carbohydrate per 100 g as eaten, total by difference. ``USDA`` marks a typical value of USDA FoodData Central,
SR Legacy (public domain, fdc.nal.usda.gov), for the food as cooked where it is cooked; ``ASSUMED`` marks our estimate for a dish that
is not in that table. A dish is more than its name says: every estimate carries a coefficient of variation of 40 %.

A name is matched by its longest known phrases. A *whole* phrase (a bun, noodles, a dumpling) speaks for the whole dish; else
the dish counts as equal parts of what its name mentions. A soup counts as 40 % of it (ASSUMED: the rest is water).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["CARBOHYDRATE_CV", "FOODS", "Food", "Meal", "carbohydrate_fraction", "estimate_meal"]

CARBOHYDRATE_CV = 0.40
_SOUP = 0.40
_SEASONINGS = frozenset({"garlic", "ginger", "scallion", "chives", "chili", "sesame", "sugar"})
_DRY_CEREAL_G, _PREPARED_CEREAL = (
    100.0,
    0.15,
)  # ASSUMED: nobody eats more dry cereal at once; a heavier portion is made up with water or milk
_NEGLIGIBLE = 2.0  # g/100 g: a food below it needs no weight to be counted as nothing


@dataclass(frozen=True)
class Food:
    """One entry: phrases, grams of carbohydrate per 100 g, source, and whether it speaks for a whole dish."""

    names: tuple[str, ...]
    carbohydrate: float
    source: str
    whole: bool = False


def _table(text: str, source: str, *, whole: bool = False) -> list[Food]:
    foods = []
    for line in text.strip().splitlines():
        value, _, names = line.strip().partition(" ")
        foods.append(Food(tuple(name.strip() for name in names.split("|")), float(value), source, whole))
    return foods


FOODS: tuple[Food, ...] = (
    *_table(
        """
        28.2 rice|red rice
        25.2 noodle|noodles|dough
        49.4 bread
        48.3 rye bread
        42.7 whole wheat bread
        54.4 toast
        31.2 fried rice
        33.3 pizza
        45.8 croissant|croissants
        66.3 oats|oat
        """,
        "USDA",
        whole=True,
    ),
    *_table(
        """
        26 coarse grain|corase grain|coarse grai|staple food|staple
        45 steamed bread|steamed bun|twisted roll|buckwheat steamed bun|buckwheat steamed bread
        42 coarse grain steamed bread|corase grain steamed bread|coarse grai steamed bread|steamed coarse grain bread
        42 coarse grain bread|corn bun|corn tortillas|pumpkin bread
        30 bun|vegetable bun|stuffed bun|pork bun|beef bun|fried bun|meatfilled bun
        44 buckwheat bread|rye flour bread|bean bun
        48 deep fried dough stick|dough twist
        38 pancake|chinese pancake|buckwheat pancake
        42 scallion pancake|salted pancake
        24 dumpling|dumplings|small meat dumpling|pan fried dumplings
        18 wonton|wontons|wontonwonton
        37 rice dumpling|bean rice dumpling|meat rice dumpling
        40 rice cake|sticky rice cake|sticky rice ball|rice ball|black rice cake|sweet dumpling
        50 corn cake|coarse grain cake|oatcake|rye flour cake|spring roll|milk cake|coarse grain pancake
        35 pumpkin pie|pie
        60 mung bean cake|pastry
        68 biscuit|biscuits|cookie|nut biscuit|salted biscuits|snack|snacks
        55 cake|sweet bread
        25 burger|sandwich
        50 crust
        13 rice in soup|rice in salted soup|rice and water|rice in salted
        22 rice noodles|rice noodle|sheet jelly
        9 porridge|rice porridge|millet porridge|milllet porridge|red date porridge|pumpkin porridge
        11 multigrain porridge|black rice porridge
        12 vegetable noodles|noodles in soup|noodles in vegetable|instant noodles
        25 buckwheat noodles|cold noodles|mutton fried noodles
        28 black rice
        75 cereal
        70 sugar free cereal|meal replacement powder|sesame paste cereal|seasame paste
        15 black sesame and walnut cereal paste|black sesame and walnut paste|cereal milk|milk cereal
        55 nutritional powder
        """,
        "ASSUMED",
        whole=True,
    ),
    *_table(
        """
        100 glucose|sugar
        59.4 chocolate
        79 raisin
        73 red date|red dates
        4.8 milk|skimmed milk
        0 coffee|tea|water|baijiu
        3.6 beer
        10.4 coke|soda
        11 juice|corn juice
        0.7 egg|eggs|egg white|quail egg|quail eggs|duck egg|preserved egg|marinated egg|pigeon egg
        0 fish|pork|beef|beaf|prok|chicken|duck|mutton|meat|pigeon|goose|bacon|bone|rib|ribs|sparerib|spare rib|pig
        0 hairtail|pomfret|croaker|carp|perch|salmon|herring|bream|eel|loach|halibut|flatfish|basa|tenderloin|steak
        0 brisket|tendon|gizzard|gizzards|chop|chops|feet|claw|wing|wings|leg|legs|jerky|floss|tripe|blood|belly|tongue
        0 liver
        0.5 shrimp|shrimps|crab|crayfish|crawfish|sea cucumber|jellyfish|cuttlefish|squid|seafood|sea food|sausage|red sausage
        4 clam|clams|razor clam|abalone|abalones|scallops
        1.5 ham
        1.9 tofu|tofu pudding|mapo tofu
        2.3 pak choi|chinese cabbage|hangzhou cabbage|baby chinese cabbage
        5.8 cabbage
        3.6 cucumber|spinach|leaf lettuce|parsley|cilantro|coriander
        2.9 lettuce
        3.9 tomato|tomatoes|asparagus|cherry tomato
        5.0 cauliflower
        6.6 broccoli
        3.0 celery|wax gourd|winter melon|white gourd|chinese gourd
        9.6 carrot|carrots|kelp
        4.1 radish
        5.9 eggplant|mung bean sprouts|mung bean sprout|bean sprout|bean sprouts|green bean sprouts
        3.1 zucchini|water spinach|crown daisy
        6.5 pumpkin
        4.4 towel gourd
        3.7 bitter gourd|bitter melon
        3.4 bottle gourd
        4.6 pepper|green pepper
        9.3 onion|scallion|scallions
        3.3 mushroom|mushrooms
        6.1 king oyster mushroom|pleurotus eryngii|beech mushroom
        7.8 needle mushroom
        5.2 bamboo shoot|bamboo shoots
        4.0 amaranth|amaranthus
        8.8 sweet potato leaves
        26.5 taro|taros
        16.3 yam
        20.1 potato|potatoes|sweet potato
        21 corn
        17.2 lotus root|lotus nut
        11 green soybean|green soy bean
        8.4 cowpea|soybean|long bean
        7.6 snow pea|sweet broad pea|dutch bean
        14.5 pea
        19.7 broad bean
        7 green bean|kidney bean|sword bean
        24.8 red bean
        19.2 mung bean
        27.4 chickpea
        13.7 walnut|walnuts|pine nut
        16.1 peanut|peanuts
        30.2 cashew|cashew nuts
        23.5 sesame
        42.1 chia seed
        14.7 pumpkin seed
        28 ginkgo nut|ginkgo
        5.1 laver|seaweed|sea weed
        13.8 apple
        11.8 orange
        14.7 kiwi fruit|kiwi|blueberry
        7.6 watermelon
        10.7 grapefruit
        9.5 peach|yellow peach
        22.8 banana
        15.2 pear
        12.1 loquat
        16.5 litchi
        16.0 cherry
        7.7 strawberry
        8.5 avocado|avocados
        5.7 wax apple
        8.2 melon
        11.4 plum
        12.7 natto
        33 garlic
        14.2 leek|leeks
        1.3 cheese
        18 ginger
        """,
        "USDA",
    ),
    *_table(
        """
        4 vegetable|vegetables|vegtable|green vegetable|boiled vegetable|vegetable dish|vegetable salad|salad
        4 amaranth soup|shepherd's purse|chrysanthemum|medicago polymorpha|pea seedling|maran|chayote|agrocybe|dendrobium
        4 orchid|sauerkraut|preserved vegetable|pickled
        6 fungus|fugus|agaric|black fungus|white fungus|tremella
        5 water bamboo|bean curd|bean curd blade|smoked bean curd|dried bean curd|dried tofu|smoked tofu|bean curd stick
        5 oily bean curd|oil tofu|oiled tofu|stinky tofu|chiba tofu|fermented bean curd|tofu knot|dried bean
        8 tofu skin|tofu skin knot|bean curd roll|orchid bean
        15 gluten|steamed gluten
        20 oil gluten|gluten puff|vermicelli|lily|coix seed|chinese wolfberry|wolfberry|chestnut
        4 pickle|pickles|dried radish|dried bamboo shoot|dried bamboo shoots|sour bamboo shoots|bergamot|chives|chili|chili sauce|konjak
        5 meatball|meatballs|meat ball|meat balls|vegetable ball|fish ball|tofu soup|sausage roll|patty|nuggets|nugget
        9 yogurt|fermented milk
        3 soybean milk|soymilk|soy milk
        3 milk and coffee|coffee milk
        4 latte
        2 braised pork in brown sauce|beijing sauce|garlic sauce|curry
        4 yellow rice wine|wine
        8 mung bean soup|sweet and sour
        80 hawthorn cake|candy
        1 redoxon
        3 egg dumpling
        10 protein powder|protein|garlic sprout|starch coated|egg and starch coated chicken slices
        12 fruit|pitaya|hawthorn
        6 ginseng fruit|ginseng|hotpot|steampot
        20 ice cream|pasta|nut
        12 bean|beans|eight treasures
        5 bean products
        """,
        "ASSUMED",
    ),
)
"""The table. Phrases are lower case; the longest match wins."""


@dataclass(frozen=True)
class Meal:
    """What a diary entry amounts to.

    Parameters
    ----------
    carbohydrate : g, or None when nothing in it could be quantified.
    items : names that were understood.
    unknown : parts that were not, or that had no weight.
    """

    carbohydrate: float | None
    items: tuple[str, ...]
    unknown: tuple[str, ...]


@lru_cache(maxsize=1)
def _phrases() -> tuple[re.Pattern[str], dict[str, Food]]:
    known = {name: food for food in FOODS for name in food.names}
    pattern = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])"), known


@lru_cache(maxsize=8192)
def carbohydrate_fraction(name: str) -> float | None:
    """Grams of carbohydrate per gram of a dish; None when nothing in its name is known.

    Examples
    --------
    >>> carbohydrate_fraction("Coarse grain steamed bread"), carbohydrate_fraction("shredded pork with celery")
    (0.42, 0.015)
    """
    pattern, known = _phrases()
    text = re.sub(r"[-\s]+", " ", name.lower()).strip()
    if "sugar free cereal" not in text:
        text = text.replace("sugar free ", "")
    found = [known[match] for match in pattern.findall(text)]
    if not found:
        return _SOUP * 0.05 if "soup" in text else None  # an unnamed clear soup
    if len(found) > 1:  # a seasoning does not weigh what the rest of the dish does
        found = [food for food in found if not _SEASONINGS.intersection(food.names)] or found
    wholes = [food for food in found if food.whole]
    value = sum(f.carbohydrate for f in (wholes or found)) / len(wholes or found) / 100
    return value * _SOUP if "soup" in text and "rice in" not in text and "noodles in" not in text else value


_AMOUNT = re.compile(r"^(?P<name>.*?)[\s,:]*(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>g|ml)\.?$", re.IGNORECASE)
_EQUAL = re.compile(r"equal to (\d+(?:\.\d+)?) ?g (?:of )?(?:glucose|sugar)", re.IGNORECASE)
_SUGAR = re.compile(r"(?:with|and)\s+(\d+(?:\.\d+)?) ?g sugar\.?$", re.IGNORECASE)


def estimate_meal(text: str) -> Meal:
    r"""Estimate the carbohydrate of a diary entry, one dish with its weight per line.

    Examples
    --------
    >>> estimate_meal("Egg\t 65 g\nCoarse grain 100 g").carbohydrate
    26.455
    >>> estimate_meal("one bowl of something").carbohydrate is None
    True
    """
    total, items, unknown = 0.0, list[str](), list[str]()
    for line in re.split(r"[\r\n;]+", text):
        part = re.sub(r"\s+", " ", line).strip()
        if not part:
            continue
        if equal := _EQUAL.search(part):
            total += float(equal[1])
            items.append(part)
            continue
        if sugar := _SUGAR.search(part):
            total += float(sugar[1])
            part = part[: sugar.start()].strip()
        amount = _AMOUNT.match(part)
        fraction = carbohydrate_fraction(amount["name"] if amount else part)
        if amount and fraction and "cereal" in part.lower() and float(amount["amount"]) > _DRY_CEREAL_G:
            fraction = min(fraction, _PREPARED_CEREAL)
        if fraction is not None and (amount or 100 * fraction < _NEGLIGIBLE):
            total += fraction * float(amount["amount"]) if amount else 0.0
            items.append(part)
        else:
            unknown.append(part)
    return Meal(round(total, 3) if items else None, tuple(items), tuple(unknown))
