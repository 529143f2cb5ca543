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
app = create_app()

SEATS = """
{% extends "base.html" %}
{% block main %}
{% if count == 0 %}
<h1>Sold out</h1>
{% elif count == 1 %}
<h1>1 seat left</h1>
{% else %}
<h1>{{ count }} seats left</h1>
{% endif %}
{% endblock %}
"""


@app.get("/seats/<int:count>")
def seats(count):
    return render_template_string(SEATS, count=count)


answer = app
