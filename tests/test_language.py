"""Which language a text is in, and how long it is."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune import language
from reflectune.language import detect, length, prompt_language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Write a short story about a dog that travels through time.", "en"),
        ("Describe the structure of an atom.", "en"),
        ("Écris un court poème sur l'automne et la pluie.", "fr"),
        ("Nenne drei Tipps für ein gesundes Leben und erkläre sie.", "de"),
        ("Schrijf een kort verhaal over een hond die door de tijd reist, of over een kat.", "nl"),
        ("Napisz krótkie opowiadanie o psie podróżującym w czasie.", "pl"),
        ("Напиши короткий рассказ о собаке, которая путешествует во времени.", "ru"),
        ("Напиши коротке оповідання про собаку, яка подорожує в часі та бачить їжаків.", "uk"),
        ("写一个关于时间旅行的小狗的短篇故事。", "zh"),
        ("寫一個關於時間旅行的小狗的短篇故事。", "zh"),
        ("北京", "zh"),
        ("用 Python 写一个快速排序函数，并解释它的时间复杂度。", "zh"),
        ("時間旅行する犬の短い物語。", "ja"),
        ("シャチについて短い物語を書いてください。", "ja"),
        ("시간 여행을 하는 개에 대한 짧은 이야기를 쓰세요.", "ko"),
        ("เขียนเรื่องสั้นเกี่ยวกับสุนัขที่เดินทางข้ามเวลา", "th"),
        ("Γράψε μια σύντομη ιστορία για έναν σκύλο.", "el"),
        ("כתוב סיפור קצר על כלב שנוסע בזמן.", "he"),
        ("以下是代码：\n```python\nfor the, and_to in your_list:\n    print(the, and_to)\n```", "zh"),
    ],
)
def test_detect_names_the_language(text: str, code: str) -> None:
    assert detect(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "5",
        "Paris",
        "Name three primary colors.",
        "Photosynthesis",
        "3.14159, 2.71828, 1.41421, 1.73205, 2.23606, 1.61803",
        "🙂🙂🙂",
        "int main() { return x[0] + y[1]; } // {{}} ()[];= <<>>",
        "```\nthe and to you your that this are\n```",
        "SELECT name FROM users WHERE id = 3 AND age > 20 OR age < 5;",
        "https://example.org/the/and/to/you/your/that",
        "Translate 你好 into English",
    ],
)
def test_detect_does_not_guess(text: str) -> None:
    assert detect(text) is None


def test_english_needs_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(language, "_model", refuse)
    assert detect("Explain how the moon causes the tides that we see.") == "en"
    assert detect("解释月亮如何引起潮汐。") == "zh"
    assert detect("Name three fruits") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("写一首诗", "zh"),
        ("将以下句子翻译成中文：The weather is nice.", "zh"),
        ("用 Python 写一个函数", "zh"),
        ("Write a poem", "en"),
        ("Explain the word 你好 to a child in two sentences", "en"),
        ("猫についての詩を書いてください", "en"),
        ("Écris un poème", "en"),
        ("", "en"),
    ],
)
def test_prompt_language(text: str, expected: str) -> None:
    assert prompt_language(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("Hello, world!", 2),
        ("a well-known fact - indeed", 4),
        ("It costs $5.20 (today).", 4),
        ("你好，世界。", 4),
        ("用 Python 写 3 个函数", 7),
        ("猫が好きです", 6),
        ("naïve café", 2),
        ("Привет, мир", 2),
        ("시간 여행", 2),
        ("— … !!", 0),
    ],
)
def test_length(text: str, expected: int) -> None:
    assert length(text) == expected


@given(st.text(), st.text())
def test_any_text_has_a_language_and_a_length(left: str, right: str) -> None:
    assert detect(left) is None or 2 <= len(detect(left)) <= 3
    assert prompt_language(left) in {"en", "zh"}
    assert length(f"{left} {right}") == length(left) + length(right)


REAL = {
    "alpaca_en_demo": ("en", 0.85, 0),
    "alpaca_random_first3000": ("en", 0.8, 3),  # a French poem, a Japanese line, a list of elements
    "cherry_alpaca_5_percent": ("en", 0.9, 0),
    "dolly_3k_first1000": ("en", 0.7, 0),
    "alpaca_zh_demo": ("zh", 0.95, 14),  # answers that are in English
    "alpaca_zh_part00_first2000": ("zh", 0.95, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_rows_are_in_their_own_language(data: Path, name: str) -> None:
    code, known, others = REAL[name]
    rows = json.loads((data / "instruct" / f"{name}.json").read_text(encoding="utf-8"))
    texts = [text for row in rows for text in (row["instruction"], row["output"]) if text.strip()]
    found = Counter(map(detect, texts))
    assert found[code] >= known * len(texts)
    assert len(texts) - found[code] - found[None] <= others
