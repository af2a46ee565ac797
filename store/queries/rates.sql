-- Share of `true` for each preference and condition, asked once; `not_sure` counts as false.
SELECT dimension, condition_id, count(*) AS answers,
       round(100 * avg((verdict = 'true')::INT), 1) AS percent_true,
       round(100 * avg((verdict = 'not_sure')::INT), 1) AS percent_not_sure
FROM scores
WHERE kind = 'statement' AND judgement_status = 'ok' AND audit_status = 'ok' AND NOT intervened
  AND judge_position = 0 AND coalesce(coherence >= 20, true)
  AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
GROUP BY dimension, condition_id, condition_position
ORDER BY dimension, condition_position
