-- Treatment and its controls on the very same prompts: points of percent, or of the 1-10 scale.
WITH cells AS (
    SELECT mode, dimension, item_label, recipe, role, avg(coalesce(score, 100 * (verdict = 'true')::INT)) AS value
    FROM scores
    WHERE kind IN ('statement', 'rubric') AND judgement_status = 'ok' AND audit_status = 'ok' AND judge_position = 0
      AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
    GROUP BY ALL
)
SELECT mode, t.dimension, t.recipe AS treatment, o.recipe AS against, count(*) AS prompts,
       round(avg(t.value - o.value), 2) AS mean_difference,
       count(*) FILTER (t.value > o.value) AS prompts_above, count(*) FILTER (t.value < o.value) AS prompts_below
FROM cells t JOIN cells o USING (mode, dimension, item_label)
WHERE t.role = 'treatment' AND o.role IN ('control', 'baseline')
GROUP BY ALL
ORDER BY mode, t.dimension, treatment, against
