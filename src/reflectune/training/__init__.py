"""Fine-tuning a student: the template, the mask and the batch; TRL, peft and accelerate do the rest.

rows.py          from lessons to conversations
masks.py         from a conversation to tokens, and which of them carry loss
batches.py       which rows make a step, and how a step's rows are split over devices
dataset.py       every row of the data as tokens, or why it is not learnt from
student.py       the model: loaded, with adapters, with tags as tokens
head.py          the loss of trained tokens only, a piece of them at a time
attention.py     rows that are read one after the other do not see each other
packs.py         a step's rows as tensors
course.py        what a run will read and on what, decided before any weights are loaded
trainer.py       TRL's trainer over such batches; callback.py, checkpoints.py and curves.py serve it
folder.py        what may be written where, and what a run that was stopped goes on from
fit.py           load, build, run, save
stage.py         all of it from Python, in one call
plan.py, shape.py    how much memory it takes; devices/ holds configurations for many devices, recipes/ settings
outputs.py       what is written of a trained student: merged adapters, a GGUF file (gguf_file.py,
                 gguf_shape.py, gguf_vocabulary.py)
card.py, report.py    what is said of it, by facts.py, with pictures.py
"""
