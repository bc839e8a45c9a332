"""Talk to a model that reflects, from Python.

python examples/chat.py                       # with the embedded model, which we make reflect
python examples/chat.py gpt-4o-mini           # or with any other model
"""

from __future__ import annotations

import asyncio
import sys

from reflectune import Answered, ChatSettings, Conversation, open_model

QUESTIONS = ["Name three healthy foods.", "Which of them is the cheapest?"]


async def main(name: str) -> None:
    """Ask two questions; of each answer show the parts as they come."""
    model = open_model(name)
    conversation = Conversation(model, ChatSettings(rounds=1, max_tokens=80))
    for question in QUESTIONS:
        print(f"\n> {question}")
        async for event in conversation.ask(question):
            if isinstance(event, Answered):
                print(f"\n({event.completion_tokens} tokens)")
            else:
                print(f"\n[{event.kind}] {event.text}" if event.begins else event.text, end="", flush=True)
    await model.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local"))
