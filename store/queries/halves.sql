-- Does a second run agree? Even and odd repeats of the same questions, side by side.
SELECT dimension, condition_id,
       round(100 * avg((verdict = 'true')::INT) FILTER (audit_repeat % 2 = 0), 1) AS percent_even,
       round(100 * avg((verdict = 'true')::INT) FILTER (audit_repeat % 2 = 1), 1) AS percent_odd,
       count(*) AS answers
FROM scores
WHERE kind = 'statement' AND judgement_status = 'ok' AND audit_status = 'ok' AND judge_position = 0
  AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
GROUP BY dimension, condition_id, condition_position
ORDER BY dimension, condition_position
