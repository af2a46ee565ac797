-- Does it vary between training seeds? Each seed's rate, beside the range over the recipe.
WITH seeds AS (
    SELECT recipe, dimension, training_seed, count(*) AS answers, avg((verdict = 'true')::INT) AS rate
    FROM scores
    WHERE kind = 'statement' AND judgement_status = 'ok' AND audit_status = 'ok' AND judge_position = 0
      AND training_seed IS NOT NULL
      AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
    GROUP BY ALL
)
SELECT *, min(rate) OVER recipes AS lowest_seed, max(rate) OVER recipes AS highest_seed
FROM seeds
WINDOW recipes AS (PARTITION BY recipe, dimension)
ORDER BY recipe, dimension, training_seed
