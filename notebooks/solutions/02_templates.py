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
# The change is in 02.3.diff: a line with + is new, a line with - goes, the others show where.
