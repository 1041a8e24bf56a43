"""Languages of streams in the codes that a container can store."""

from __future__ import annotations

#: Codes that FFmpeg writes in MOV files: those of the language numbers of classic Mac OS.
_MOV = frozenset({
    "alb", "amh", "ara", "arm", "asm", "aym", "aze", "baq", "bel", "ben", "bul", "bur", "cat",
    "ces", "chi", "dan", "dut", "dzo", "eng", "epo", "est", "fin", "fra", "geo", "ger", "gre",
    "grn", "guj", "heb", "hin", "hun", "ice", "ind", "iri", "ita", "jav", "jpn", "kan", "kas",
    "kaz", "khm", "kin", "kir", "kor", "kur", "lao", "lat", "lav", "lit", "mac", "mal", "mar",
    "may", "mlg", "mlt", "mol", "mon", "nep", "nor", "nya", "ori", "orm", "per", "pol", "por",
    "pus", "que", "ron", "run", "rus", "san", "sin", "slk", "slv", "smi", "snd", "som", "spa",
    "sve", "swa", "tam", "tat", "tel", "tgk", "tgl", "tha", "tib", "tir", "tuk", "tur", "uig",
    "ukr", "urd", "uzb", "vie", "wel", "yid",
})  # fmt: skip
#: Other codes (ISO 639-2, terminology or bibliography) of the same languages.
_MOV_CODES = {
    "bod": "tib", "cym": "wel", "cze": "ces", "deu": "ger", "ell": "gre", "eus": "baq",
    "fas": "per", "fre": "fra", "gle": "iri", "hye": "arm", "isl": "ice", "kat": "geo",
    "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "nno": "nor", "nob": "nor",
    "rum": "ron", "slo": "slk", "sqi": "alb", "swe": "sve", "zho": "chi",
}  # fmt: skip


def storable_language(code: str, format_name: str) -> str | None:
    """The code with which a container stores a language; None if it cannot.

    Args:
        code: of ISO 639-2.
        format_name: FFmpeg's name of the container.

    >>> storable_language("deu", "mov"), storable_language("hrv", "mov")
    ('ger', None)
    """
    if format_name != "mov" or code == "und":
        return code
    code = _MOV_CODES.get(code, code)
    return code if code in _MOV else None
