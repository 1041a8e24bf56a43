"""Instructions in natural language for each reference edit; some are held out for evaluation.

An instruction has one of three forms: "turn it into" a thing, "make it" an attribute, or a command
of its own. Templates and words are combined at random with a generator that the caller seeds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_THING_TEMPLATES = (
    "turn it into {}", "turn this into {}", "turn the photo into {}", "turn the picture into {}",
    "turn the image into {}", "make it {}", "make this {}", "make it look like {}",
    "make the picture look like {}", "convert it to {}", "change it to {}", "transform it into {}",
    "render it as {}", "in the style of {}", "as {}", "{}",
)  # fmt: skip
_ATTRIBUTE_TEMPLATES = (
    "make it {}", "make this {}", "make the photo {}", "make the picture {}", "make the image {}",
    "it should be {}", "{}",
)  # fmt: skip
#: "please" and "can you" go before verbs only.
_NON_VERBS = frozenset(["no", "more", "what"])
_TEMPLATE_VERBS = frozenset(["turn", "make", "convert", "change", "transform", "render"])
_COURTESIES = ("", "", "", "", "", "", "please ", "can you ", "now ")


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrases that ask for one edit.

    Attributes:
        canonical: the instruction shown in tables and figures.
        things: complete "turn it into ...".
        attributes: complete "make it ...".
        commands: complete instructions.
        held_out: complete instructions for evaluation only, never trained on.
    """

    canonical: str
    things: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


def _phrases(canonical: str, things: str, attributes: str, commands: str, held_out: str) -> Phrases:
    def parts(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split("|") if part.strip())

    return Phrases(canonical, parts(things), parts(attributes), parts(commands), parts(held_out))


PHRASES: Mapping[str, Phrases] = MappingProxyType(
    {
        "keep": _phrases(
            "leave it as it is",
            "",
            "stay the same | unchanged",
            "keep it as it is | do not change anything | leave it unchanged | no change"
            " | keep the photo the same | change nothing | leave the image as it is | do nothing"
            " | keep everything as is",
            "keep the image unchanged | leave it as is | do not edit it",
        ),
        "black_and_white": _phrases(
            "make it black and white",
            "a black and white photo | a black and white picture | a grayscale image"
            " | a monochrome photograph | a greyscale photo | a black-and-white film still",
            "black and white | grayscale | greyscale | monochrome | b&w | colorless",
            "remove the colors | remove all color | desaturate the image | drain the color"
            " | take away the colour",
            "convert this to black and white | make the picture greyscale please"
            " | turn the video into a black and white movie | without any colors",
        ),
        "sepia": _phrases(
            "turn it into a sepia photograph",
            "a sepia photograph | a sepia picture | an old sepia photo | a vintage photo"
            " | an antique photograph | an old brown photograph",
            "sepia | sepia toned | vintage | look old and brown | an old photo",
            "apply a sepia tone | add a sepia filter | age the photo | give it a sepia look",
            "turn the video into a sepia photograph | make it look like a vintage picture"
            " | give the photo a sepia tone",
        ),
        "negative": _phrases(
            "invert the colors",
            "a photo negative | a negative | a film negative | a color negative"
            " | an inverted image",
            "a negative | inverted | look like a film negative",
            "invert the colors | invert the colours | invert the image | reverse the colors"
            " | swap light and dark",
            "make a negative of it | show the inverted colors | invert all colors",
        ),
        "night": _phrases(
            "make it night",
            "night | a night scene | a moonlit night | nighttime | a dark night photo",
            "night | nighttime | midnight | moonlit | look like night time"
            " | look like it was taken at night",
            "change the time to night | set it at night | turn day into night | add moonlight"
            " | what would it look like at night",
            "make it look like night | as if it were night | let it be night",
        ),
        "pencil": _phrases(
            "make it a pencil sketch",
            "a pencil sketch | a pencil drawing | a sketch | a drawing | a charcoal sketch"
            " | a graphite drawing | a line drawing",
            "a pencil sketch | a sketch | a drawing | look like a pencil drawing | sketched"
            " | hand drawn",
            "draw it with a pencil | sketch it | draw this in pencil | redraw it as a sketch",
            "as a sketch in pencil | turn the frame into a pencil drawing | sketch this in pencil",
        ),
        "watercolor": _phrases(
            "turn it into a watercolor painting",
            "a watercolor painting | a watercolour painting | a watercolor | a watercolour"
            " | an aquarelle",
            "a watercolor | a watercolor painting | a watercolour painting"
            " | look like a watercolor",
            "paint it in watercolor | paint it with watercolors | apply a watercolor effect",
            "a watercolor of this scene | turn the video into a watercolor"
            " | paint this as a watercolor",
        ),
        "oil": _phrases(
            "make it an oil painting",
            "an oil painting | a painting on canvas | an impressionist painting | an oil on canvas"
            " | a classical oil painting | a Van Gogh painting",
            "an oil painting | look like an oil painting | painted in oil | impressionist",
            "paint it in oil | paint it with thick brush strokes"
            " | add thick oil paint brush strokes",
            "as an oil painting please | turn the frame into a painting in oil"
            " | paint this in oil on canvas",
        ),
        "cartoon": _phrases(
            "make it a cartoon",
            "a cartoon | a comic | a comic book panel | an anime | an animated cartoon"
            " | a comic strip | a cel shaded cartoon",
            "a cartoon | cartoonish | cartoon style | anime style | look like a comic book"
            " | cel shaded",
            "cartoonify it | draw it as a cartoon | apply a cartoon filter",
            "turn the frame into a cartoon | make it like a cartoon | redraw this as a comic",
        ),
        "fog": _phrases(
            "add fog",
            "a foggy scene | a misty morning | a foggy day | a hazy scene",
            "foggy | misty | hazy | look foggy",
            "add fog | add mist | add some fog | add thick fog | cover it with fog"
            " | put it in the fog | fill it with haze",
            "make the scene foggy | put some fog in it | let fog come in",
        ),
        "winter": _phrases(
            "make it winter with snow",
            "winter | winter with snow | a winter scene | a snowy landscape | a snowy day"
            " | a winter wonderland",
            "snow | snowy | winter | winter with snow | look like winter | covered in snow | frozen"
            " | icy",
            "add snow | cover it with snow | cover it in snow | change the season to winter"
            " | set it in winter | put snow on the ground",
            "let it snow on the scene | bring the snow | as if it had snowed",
        ),
        "autumn": _phrases(
            "make it autumn",
            "autumn | fall | an autumn scene | an autumn day | a fall scene",
            "autumn | fall | autumnal | look like autumn | look like fall",
            "change the season to autumn | change the season to fall | turn the leaves orange"
            " | add autumn leaves | make the leaves orange | set it in autumn"
            " | give it autumn colors",
            "make it autumn season | the season should be autumn | let it be fall",
        ),
        "sunset": _phrases(
            "make it sunset",
            "sunset | a sunset | a sunset scene | golden hour | a warm evening",
            "sunset | golden hour | warmer | warm | look like sunset | look like a warm evening",
            "change the time to sunset | add a sunset | give it sunset light | set it at sunset"
            " | add warm light | put it at golden hour | make the colors warmer",
            "make it a sunset photo | let the sunset light it | as if the sun were setting",
        ),
        "blueprint": _phrases(
            "make it a blueprint",
            "a blueprint | a technical blueprint | an architectural blueprint"
            " | a blue technical drawing | a cyanotype plan",
            "a blueprint | look like a blueprint | blueprint style",
            "draw it as a blueprint | make a blueprint of it | show it as a technical plan",
            "turn the frame into a blueprint | a blueprint of this scene"
            " | redraw it as a blueprint",
        ),
        "contrast": _phrases(
            "increase the contrast",
            "a high contrast photo | a high contrast image | a punchy photo",
            "high contrast | more contrasty | contrastier | punchier | more dramatic",
            "increase the contrast | add contrast | boost the contrast | more contrast"
            " | raise the contrast | enhance the contrast",
            "give the photo more contrast | increase contrast | the contrast should be higher",
        ),
        "blur": _phrases(
            "make it blurry",
            "a blurry photo | an out of focus photo | a blurred image | a soft focus picture",
            "blurry | blurred | out of focus | unfocused | soft",
            "blur it | blur the image | add blur | add bokeh | defocus the photo"
            " | add a gaussian blur",
            "make everything blurry | blur this picture | put it out of focus",
        ),
        "underwater": _phrases(
            "make it underwater",
            "an underwater scene | an underwater photo | the bottom of the sea | an ocean scene",
            "underwater | under water | submerged | look like it is underwater",
            "put it underwater | sink it under the sea | place it under water | flood it with water"
            " | move it to the bottom of the ocean",
            "make the scene underwater | turn the video into an underwater world"
            " | let it be under the sea",
        ),
        "thermal": _phrases(
            "make it a thermal camera image",
            "a thermal camera image | a thermal image | an infrared heat map | a heat map"
            " | a thermal camera picture",
            "look like a thermal camera | a heat map | thermal | a thermal image",
            "show it through a thermal camera | apply thermal vision | use heat vision"
            " | show the heat",
            "turn the video into a thermal image | see it with a heat camera"
            " | as a thermal camera sees it",
        ),
        "neon": _phrases(
            "turn it into glowing neon outlines",
            "glowing neon outlines | neon lights | a neon sign | a neon drawing | neon lines",
            "neon | glow in neon | look like a neon sign | outlined in neon",
            "draw it in neon | add a neon effect | trace it with neon lights"
            " | make the outlines glow",
            "turn the frame into neon lines | let the edges glow in neon | as a neon sign",
        ),
    }
)

#: All held-out instructions, in lower case.
HELD_OUT = frozenset(text.lower() for phrases in PHRASES.values() for text in phrases.held_out)


def sample_instruction(edit: str, rng: random.Random) -> str:
    """Return a random instruction for ``edit``, never one of :data:`HELD_OUT`.

    Args:
        edit: a key of :data:`PHRASES`.
        rng: the source of randomness; the same state gives the same instruction.
    """
    phrases = PHRASES[edit]
    while True:
        text = _combine(phrases, rng)
        if rng.random() < 0.1:
            text += " please"
        if rng.random() < 0.1:
            text += "."
        if rng.random() < 0.15:
            text = text[0].upper() + text[1:]
        if normalize(text) not in HELD_OUT:
            return text


def normalize(text: str) -> str:
    """Return the instruction in lower case, without a full stop."""
    return text.lower().strip(". ")


def _combine(phrases: Phrases, rng: random.Random) -> str:
    """Return a template filled with a phrase, or a command."""
    kinds = [
        kind
        for kind, words in (
            ("thing", phrases.things), ("thing", phrases.things),  # twice: the commonest form
            ("attribute", phrases.attributes), ("command", phrases.commands),
        )
        if words
    ]  # fmt: skip
    kind = rng.choice(kinds)
    if kind == "command":
        text = rng.choice(phrases.commands)
        return text if text.partition(" ")[0] in _NON_VERBS else rng.choice(_COURTESIES) + text
    templates, words = (
        (_THING_TEMPLATES, phrases.things)
        if kind == "thing"
        else (_ATTRIBUTE_TEMPLATES, phrases.attributes)
    )
    template = rng.choice(templates)
    has_verb = template.partition(" ")[0] in _TEMPLATE_VERBS
    courtesy = rng.choice(_COURTESIES) if has_verb else ""
    return courtesy + template.format(rng.choice(words))
