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
#: FFmpeg's names of containers that store three letters.
_THREE_LETTERS = ("mp4", "mov", "mpegts")
#: Codes of ISO 639-1, and those of ISO 639-2 of the same languages.
_TWO_LETTERS = {
    "af": "afr", "am": "amh", "ar": "ara", "az": "aze", "be": "bel", "bg": "bul", "bn": "ben",
    "bs": "bos", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan", "de": "deu", "el": "ell",
    "en": "eng", "eo": "epo", "es": "spa", "et": "est", "eu": "eus", "fa": "fas", "fi": "fin",
    "fr": "fra", "ga": "gle", "gl": "glg", "gu": "guj", "he": "heb", "hi": "hin", "hr": "hrv",
    "hu": "hun", "hy": "hye", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "ka": "kat",
    "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kur", "la": "lat", "lo": "lao",
    "lt": "lit", "lv": "lav", "mk": "mkd", "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa",
    "mt": "mlt", "my": "mya", "nb": "nob", "ne": "nep", "nl": "nld", "nn": "nno", "no": "nor",
    "pa": "pan", "pl": "pol", "ps": "pus", "pt": "por", "ro": "ron", "ru": "rus", "sa": "san",
    "si": "sin", "sk": "slk", "sl": "slv", "so": "som", "sq": "sqi", "sr": "srp", "sv": "swe",
    "sw": "swa", "ta": "tam", "te": "tel", "th": "tha", "tl": "tgl", "tr": "tur", "uk": "ukr",
    "ur": "urd", "uz": "uzb", "vi": "vie", "yi": "yid", "zh": "zho", "zu": "zul",
}  # fmt: skip


def storable_language(code: str, format_name: str) -> str | None:
    """The code with which a container stores a language; None if it cannot.

    Args:
        code: of ISO 639-2, or a tag of BCP 47 as in Matroska. MP4 has place for three letters.
        format_name: FFmpeg's name of the container.

    >>> storable_language("deu", "mov"), storable_language("hrv", "mov")
    ('ger', None)
    >>> storable_language("pt-BR", "mp4"), storable_language("tlh-x-qo", "mp4")
    ('por', 'tlh')
    """
    if format_name in _THREE_LETTERS and (len(code) != 3 or not code.isalpha()):
        code = code.split("-")[0].lower()
        code = code if len(code) == 3 else _TWO_LETTERS.get(code, "")
        if not code:
            return None
    if format_name != "mov" or code == "und":
        return code
    code = _MOV_CODES.get(code, code)
    return code if code in _MOV else None
