-- Does it hang on a few prompts? The rate of every single question.
SELECT dimension, condition_id, item_label, count(*) AS answers, round(100 * avg((verdict = 'true')::INT), 1) AS percent_true
FROM scores
WHERE kind = 'statement' AND judgement_status = 'ok' AND audit_status = 'ok' AND judge_position = 0
  AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
GROUP BY dimension, condition_id, condition_position, item_label
ORDER BY dimension, condition_position, percent_true DESC, item_label
