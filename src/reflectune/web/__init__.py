"""The web app: look at runs, compare versions, judge answers, talk to a model. It needs no network and no build step.

app.py         puts it together
listening.py   a socket, and the server on it
safety.py      who may ask: hosts, origins, keys; what every reply forbids the browser
state.py       what the pages look at: the folder of runs and the models
pages.py       templates, languages, themes
texts/         what the pages say, in English and Chinese, a file for each area
templates/, static/    HTML, CSS and plain JavaScript
"""
