# %% Exercise 01.1
answer = 404  # "twelve" is no number, so no route fits

# %% Exercise 01.2
answer = ("POST", "/notes", {"name": "lunch", "text": "soup at noon"})

# %% Exercise 01.3
app = create_app()


@app.get("/cube/<int:number>")
def cube(number):
    return f"{number} cubed is {number**3}"


answer = app
