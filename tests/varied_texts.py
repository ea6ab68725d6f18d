"""Varied texts for tokenizers, the same everywhere: scripts of the world, code, numbers, emoji, runs of blanks, odd code points."""

from random import Random

_WORDS = """
the quick brown fox it's we're I'll O'Neil MixedCase iPhone naïve coöperate Straße Übergrößenträger l'élève œuvre привет
съешь ещё мягких їжак Київ Καλημέρα Ἀθῆναι 你好世界 机器学习 深度求索 繁體中文 𠀀𠀁 〇一二三 标点，。！？ こんにちは カタカナ ﾊﾝｶｸ 々〆ヶ
안녕하세요 ᄒᆞᆫ글 مرحبا العربيّة ١٢٣٤ שָׁלוֹם می‌خواهم नमस्ते क्षत्रिय বাংলা தமிழ் తెలుగు สวัสดีชาวโลก ๑๒๓ ສະບາຍດີ ពិសេស မြန်မာ བོད་ཡིག გამარჯობა Բարեւ
ሰላም Tiếng Việt İstanbul Zażółć 🚀 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇯🇵 ❤️‍🔥 1️⃣ ∑∞≠ x²+y³ ½⅓ Ⅳ ⑨ 𝔸𝕓 10⁻³ Z̷a̷l̷ ก็ “quoted” ‘single’ —–… ¿¡ №
{'a':[1,2.5e-10],"b":None} if(a&&b||!c){i++;} a->b::c<T>; #include<stdio.h> $HOME/.bashrc --flag=1 C:\\Windows
http://a.b/c?d=e&f#g getHTTPResponseCode snake_case_name SCREAMING_SNAKE kebab-case __init__ x86_64 HelloWORLDfoo
0 12 123 1234 1234567 1,234,567.89 0x1F4A9 192.168.0.1 2026-11-25T22:50:00Z ٣٤٥ १२ 1st 100km soft\u00adhyphen
zero\u200bwidth \u200e\u200f \ufeff \u2028 \u0085 \ufffd \ue000 \U0010ffff \u0007bell \u001b[0m \x7f
"""
WORDS = _WORDS.split()
GAPS = (" ", " ", "  ", "   ", "\t", "\n", "\n\n", " \n ", "\r\n", "        ", "", "", "\u00a0", "\u3000", "\x0b\x0c")


def varied_texts(special: tuple[str, ...], count: int) -> list[str]:
    """So many texts, with `special` tokens in their midst, and one for every 7th code point up to U+2FFF."""
    random = Random(0)
    pieces = [*WORDS, *special]
    texts = ["".join(random.choice(pieces) + random.choice(GAPS) for _ in range(1 + n % 14)) for n in range(count)]
    texts += [letter * n for n in range(1, 12) for letter in (" ", "\n", "7", "A", "é", "你", "-", "'s")]
    return texts + [f"x{chr(c)}y {chr(c)}{chr(c)}1{chr(c)}" for c in range(0x20, 0x3000, 7)]
