"""Fine-tuning a student: get the template, the mask and the batch right, and leave the rest to TRL, peft and accelerate.

rows.py          from data to conversations, and the mistakes that are marked in them
masks.py         from a conversation to tokens, and which of them carry loss
batches.py       which rows make a step, and how a step's rows are split over devices
dataset.py       every row of the data as tokens, or why it is not learnt from
student.py       the model: loaded, with adapters, with tags as tokens
attention.py     rows that are read one after the other do not see each other
trainer.py       TRL's trainer over such batches; checkpoints.py, curves.py and signals serve it
fit.py           the stage: load, build, run, save
plan.py          how much memory it takes; devices/ holds configurations for many of them
card.py, report.py, gguf_file.py    what is written of a trained student
"""
