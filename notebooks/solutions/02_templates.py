# %% Exercise 02.1
answer = "<h2>Hello, {{ name }}!</h2>"

# %% Exercise 02.2
answer = """
<ul>
{% for name in names|sort %}
<li>{{ name }}</li>
{% else %}
<li>No guests yet</li>
{% endfor %}
</ul>
"""

# %% Exercise 02.3
# The change is in 02.3.diff: add the lines with +, remove those with -; the others show the place.

# %% Exercise 02.4
from flask import Flask, render_template_string, request

PAGE = """
<h1>{{ guests|length }} guests</h1>
<ul>{% for guest in guests %}<li>{{ guest }}</li>{% endfor %}</ul>
"""
answer = Flask("guest list")


@answer.get("/guests")
def guests():
    names = request.args.get("names", "").split(",")
    return render_template_string(PAGE, guests=names)
