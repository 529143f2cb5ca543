# %% Exercise 05.7
with serve("census") as url:
    answer = requests.post(
        f"{url}/api/v1/predictions", json=person | {"workclass": None}, timeout=10
    )

# %% Exercise 05.8
answer = scored["probability"].sum()

# %% Exercise 05.9
from app import create_app

app = create_app()


@app.get("/api/v1/groups")
def tell_groups():
    return {"groups": card["metrics"]["groups"]}


answer = app
