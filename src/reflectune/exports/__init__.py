"""Data and a configuration for other trainers, side by side in a folder.

rows.py           what a row teaches: its turns, and the characters that carry no loss
survey.py         what the rows are like as a whole, which the configurations depend on
wording.py        how a row is worded: messages for a chat template, or a prompt and its completion as plain text
schedule.py       rows of a step over devices, and steps of a run
kit.py            what a tool is handed: files, rows, a command, and what it cannot do
llama_factory.py, axolotl.py, trl.py, messages.py    one tool each
write.py          read, ask the tool's module, write the folder
"""

from reflectune.exports.write import TOOLS, Exported, Order, Tool, export_for

__all__ = ["TOOLS", "Exported", "Order", "Tool", "export_for"]
